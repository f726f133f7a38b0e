"""`benchmarks/gpu_gate.sh`: what it says when a part fails; its parts have tests of their own."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import pytest

GATE = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "gpu_gate.sh"


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    return subprocess.run(
        ["bash", str(GATE), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def _program(folder: pathlib.Path, name: str, body: str) -> pathlib.Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_without_a_folder_it_tells_how():
    done = _run()
    assert done.returncode == 2
    assert "usage:" in done.stderr
    assert _run("folder", "--other").returncode == 2


def test_without_torch_it_says_so(tmp_path):
    python = _program(tmp_path, "python", "exit 1")
    done = _run(str(tmp_path / "out"), PYTHON=str(python))
    assert done.returncode == 2
    assert "has no torch and numpy" in done.stderr


@pytest.mark.parametrize("code", [0, 3])
def test_a_part_that_fails_is_named_and_the_exit_code_says_so(tmp_path, code):
    # Finds every package, and does nothing; cmake fails, or builds nothing.
    python = _program(tmp_path, "python", "exit 0")
    _program(tmp_path, "cmake", f"echo what cmake said; exit {code}")
    done = _run(
        str(tmp_path / "out"),
        PYTHON=str(python),
        GATE_BUILD=str(tmp_path / "build"),
        PATH=f"{tmp_path}:{os.environ['PATH']}",
    )
    assert done.returncode == 1
    parts = (tmp_path / "out" / "parts.txt").read_text()
    log = (tmp_path / "out" / "logs" / "configure.log").read_text()
    assert log == "what cmake said\n"
    if code:
        assert "configure             FAILED: exit code 3" in parts
        assert "build" not in parts
        assert "    what cmake said" in done.stdout
    else:
        # Nothing to put into the overlay.
        assert "overlay               FAILED" in parts
        assert "self_check" not in parts
