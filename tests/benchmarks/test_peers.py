"""`benchmarks/peers.py` from end to end, at the size of a test: who runs, and what is stored."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest
import with_tokenfuse
from contestants import entries

from tokenfuse_sdk.runtime import native_cpu

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "peers.py"
ONLY = ("tokenfuse", "torch eager fp32", "onnxruntime fp32")


def _run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def stored(_bundle_once: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    pytest.importorskip("onnx", reason="needs the package onnx")
    pytest.importorskip("onnxscript", reason="needs the package onnxscript")
    path = tmp_path_factory.mktemp("peers") / "peers.json"
    arguments = ("--threads", "1,2", "--batch", "1,2", "--quick", "--json", str(path))
    done = _run("--model", str(_bundle_once), "--only", *ONLY, *arguments)
    assert done.returncode == 0, done.stderr
    for title in (
        "the whole answer, 2 pictures, 1 thread",
        "a follow-up question",
        "unseen scenes",
    ):
        assert title in done.stdout
    return json.loads(path.read_text())


def _label(row: dict) -> str:
    return f"{row['name']} {row['precision']}"


def test_everybody_is_timed_or_absent_with_a_reason(stored):
    labels = {entry.label for entry in entries(ONLY)}
    for batch in (1, 2):
        for threads in (1, 2):
            where = {"batch": batch, "threads": threads}
            timed = {_label(r) for r in stored["rows"] if where.items() <= r.items()}
            absent = {
                r["contestant"]: r["why"] for r in stored["absent"] if where.items() <= r.items()
            }
            assert timed | set(absent) == labels
            assert not timed & set(absent)
            assert all(absent.values())
            assert {f"tokenfuse {p}" for p in native_cpu.PRECISIONS} <= timed
            assert "torch eager fp32" in timed
    assert set(stored["settings"]) == labels


def test_what_a_row_says(stored):
    assert {"cpu", "cores"} <= set(stored["hardware"])
    assert stored["commit"]
    for row in stored["rows"]:
        low, high = row["quartiles_ms"]
        assert 0 < low <= row["median_ms"] <= high
        assert row["p95_ms"] > 0
        assert not row["best_peer"].startswith("tokenfuse")
        if row["precision"] == "fp32":
            assert 0 < row["max_abs_err"] < 1e-3
    best = {(r["batch"], r["threads"]): r for r in stored["rows"] if _label(r) == r["best_peer"]}
    assert len(best) == 4
    assert {row["times_faster_than_best_peer"] for row in best.values()} == {1.0}


def test_follow_ups_starts_and_answers(stored):
    assert {row["threads"] for row in stored["follow_up"]} == {1, 2}
    assert {row["batch"] for row in stored["follow_up"]} == {1}
    assert all(row["first_answer_ms"] > 0 and row["peak_mb"] > 1 for row in stored["start"])
    assert {_label(row) for row in stored["start"]} >= {"tokenfuse fp32", "tokenfuse int8"}
    assert not any(row["name"].startswith("torch") for row in stored["start"])
    for row in stored["answers"]:
        assert 0 <= row["same"] <= row["num_questions"] == 8
        if row["precision"] == "fp32":
            assert row["same"] == 8, _label(row)


def test_a_model_that_is_not_there(tmp_path):
    done = _run("--model", str(tmp_path / "nothing"), "--only", "tokenfuse", "--quick")
    assert done.returncode == 1
    assert "no bundle" in done.stderr
    assert "Traceback" not in done.stderr


def test_ours_takes_part_in_every_precision_of_the_sdk(monkeypatch):
    assert with_tokenfuse.precisions() == native_cpu.PRECISIONS
    monkeypatch.setattr(native_cpu, "PRECISIONS", ("fp32", "bf16", "int4"))
    ours = [entry.precision for entry in entries() if entry.is_ours]
    assert ours == ["fp32", "bf16", "int4"]


def test_every_named_peer_is_on_the_list():
    labels = {entry.label for entry in entries() if not entry.is_ours}
    assert labels >= {
        *(
            f"torch {how} {precision}"
            for how in ("eager", "compile")
            for precision in ("fp32", "bf16")
        ),
        *(f"onnxruntime {precision}" for precision in ("fp32", "int8")),
        *(f"openvino {precision}" for precision in ("fp32", "bf16", "int8")),
    }
    for entry in entries():
        assert entry.settings, entry.label
    with pytest.raises(SystemExit, match="there are tokenfuse fp32"):
        entries(["nobody"])
