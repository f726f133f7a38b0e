"""What TOKENFUSE_CUDA builds on which machine: CMake's own answer, with nvidia-smi played."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
pytestmark = pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")


def _configure(
    folder: pathlib.Path, *options: str, gpus: str = "", nvcc: bool = True
) -> tuple[int, str]:
    """CMake's return code and words, on one line, where nvidia-smi shows these GPUs."""
    smi = folder / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text(f"#!/bin/sh\nprintf '{gpus}'\n")
    smi.chmod(0o755)
    environment = {**os.environ, "PATH": f"{smi.parent}{os.pathsep}{os.environ['PATH']}"}
    if not nvcc:
        environment["CUDACXX"] = "/bin/false"
    done = subprocess.run(
        ["cmake", "-S", str(ROOT), "-B", str(folder / "build"), "-DTOKENFUSE_BUILD_PYTHON=OFF"]
        + [f"-D{option}" for option in options],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_off_says_and_needs_nothing(tmp_path):
    code, said = _configure(tmp_path, "TOKENFUSE_CUDA=OFF", gpus="9.0", nvcc=False)
    assert code == 0
    assert "CUDA" not in said


@pytest.mark.parametrize(
    ("gpus", "reason"),
    [("", "no GPU here"), ("7.5", "capability is below 80"), ("9.0", "there is no nvcc")],
)
def test_auto_skips_and_says_why(tmp_path, gpus, reason):
    code, said = _configure(tmp_path, gpus=gpus, nvcc=False)
    assert code == 0
    assert "CUDA: skipped" in said
    assert reason in said


def test_on_without_nvcc_is_an_error_that_says_what_to_install(tmp_path):
    code, said = _configure(tmp_path, "TOKENFUSE_CUDA=ON", nvcc=False)
    assert code != 0
    assert "install the CUDA toolkit" in said


def test_another_word_is_an_error(tmp_path):
    code, said = _configure(tmp_path, "TOKENFUSE_CUDA=maybe")
    assert code != 0
    assert "none of AUTO, ON, OFF" in said


@needs_nvcc
def test_auto_builds_for_the_gpus_that_are_here(tmp_path):
    # The last is newer than any nvcc: PTX of what it knows.
    code, said = _configure(tmp_path, gpus=r"8.7\n8.7\n19.9\n")
    assert code == 0
    assert "for 87-real;120 " in said or "for 87-real;90 " in said


@needs_nvcc
def test_on_builds_for_all_that_nvcc_knows(tmp_path):
    code, said = _configure(tmp_path, "TOKENFUSE_CUDA=ON")
    assert code == 0
    assert " for 80-real;86-real;87-real;89-real;90-real;" in said
    assert "-virtual " in said


@needs_nvcc
def test_named_architectures_take_the_place_of_the_choice(tmp_path):
    code, said = _configure(tmp_path, "TOKENFUSE_CUDA_ARCHITECTURES=86-real;90")
    assert code == 0
    assert " for 86-real;90 " in said


@needs_nvcc
def test_a_named_architecture_that_is_too_old(tmp_path):
    options = ("TOKENFUSE_CUDA=ON", "TOKENFUSE_CUDA_ARCHITECTURES=90-real;75-real")
    code, said = _configure(tmp_path, *options)
    assert code != 0
    assert "TOKENFUSE_CUDA_ARCHITECTURES has 75-real; the CUDA engine needs 80 or later" in said
