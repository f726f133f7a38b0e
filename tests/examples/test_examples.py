"""The examples run as a reader would run them."""

from __future__ import annotations

import csv
import pathlib
import shutil
import subprocess
import sys

import pytest

import tokenfuse_sdk as tf
from tokenfuse_sdk.bundle import read_bundle
from tokenfuse_sdk.graphs import GRAPHS

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_embed():
    done = run("embed.py")
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert "sure" in first
    assert second == "I do not know the word 'zebra'."
    assert third.startswith("Sorry: ")


def test_ask_many():
    done = run("ask_many.py")
    assert done.returncode == 0, done.stderr
    assert "16 tokens, 8192 bytes" in done.stdout
    assert "with  4 tokens" in done.stdout
    assert "bytes on disk" in done.stdout


def test_folder_to_csv(tmp_path):
    folder, output = tmp_path / "pictures", tmp_path / "answers.csv"
    folder.mkdir()
    for path in tf.example_images()[:2]:
        shutil.copy(path, folder)
    (folder / "broken.png").write_bytes(b"x")
    (folder / "notes.txt").write_text("not a picture")
    questions = ["is there a star?", "how many things are there?"]
    done = run("folder_to_csv.py", folder, output, *questions)
    assert done.returncode == 0, done.stderr
    assert "broken.png" in done.stderr
    with output.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["picture", *questions]
    assert [row[0] for row in rows[1:]] == ["broken.png", "scene1.png", "scene2.png"]
    assert rows[1][1:] == ["", ""]
    assert all(row[1] in ("yes", "no") for row in rows[2:])
    again = run("folder_to_csv.py", folder, output, *questions)
    assert again.returncode != 0


def test_tensorrt_engines(exported_nano, tmp_path):
    pytest.importorskip(
        "tensorrt_rtx_bindings", reason="needs the package tensorrt-rtx-cu13-bindings"
    )
    from tokenfuse_export.tensorrt.targets import current_target

    output = tmp_path / "engines"
    # Its graphs are there already.
    options = ("--model", exported_nano, "--precision", "fp32")
    done = run("tensorrt_engines.py", output, *options, "--target", "sm_86")
    here, _ = current_target()
    if here == "sm_86":
        assert done.returncode == 0, done.stderr
        assert "scene1.png: " in done.stdout
    else:
        assert done.returncode == 3, done.stderr
        assert "built, but not run: " in done.stderr
    assert read_bundle(output).engine_names == ("sm_86-fp32",)
    assert [line.split(":")[0] for line in done.stdout.splitlines()[:3]] == [
        f"sm_86-fp32 {graph}" for graph in GRAPHS
    ]
    # No TensorRT builds for it.
    done = run("tensorrt_engines.py", tmp_path / "other", *options, "--target", "sm_99")
    assert done.returncode == 1
    assert done.stderr.startswith("not built: target=sm_99: ")
    assert not (tmp_path / "other").exists()


def test_every_example_is_listed_and_tested():
    names = sorted(path.name for path in EXAMPLES.glob("*.py"))
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(name in listed for name in names)
    assert names == [
        "ask_many.py",
        "embed.py",
        "folder_to_csv.py",
        "foreign_runtime.py",
        "tensorrt_engines.py",
        "triton_model.py",
        "triton_repository.py",
    ]


def test_the_readme_code_runs(tmp_path):
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    code = readme.split("```python\n", 1)[1].split("```", 1)[0]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    if len(code.splitlines()) > 14:
        pytest.fail("the README promises ten lines")
