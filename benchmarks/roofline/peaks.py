"""This machine's peaks, measured: operations per second by precision, bytes copied per second."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping

from isa_loops import Loop, cpu_flags, is_x86, loops_for
from program import source

__all__ = ["best_peaks", "measure_peaks"]

_COPY_BYTES = 256 << 20


def _loops() -> dict[str, Loop]:
    return loops_for(cpu_flags(), x86=is_x86())


def measure_peaks(num_threads: int, seconds: float) -> dict[str, float]:
    """Operations per second of each loop (2 per multiply-add), and "copy" in bytes per second.

    Args:
        num_threads: all do the same at once.
        seconds: a repetition takes at least this; there are 5, and the best counts.
    """
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        raise SystemExit("no C++ compiler was found; set CXX")
    with tempfile.TemporaryDirectory(prefix="tokenfuse-roofline-") as folder:
        path, program = pathlib.Path(folder) / "peaks.cc", pathlib.Path(folder) / "peaks"
        path.write_text(source(_loops()), encoding="utf-8")
        command = [compiler, "-O2", "-std=c++17", "-pthread", str(path), "-o", str(program)]
        subprocess.run(command, check=True)
        arguments = [str(num_threads), str(seconds), str(_COPY_BYTES)]
        done = subprocess.run([program, *arguments], check=True, capture_output=True, text=True)
    peaks: dict[str, float] = json.loads(done.stdout)
    return peaks


def best_peaks(peaks: Mapping[str, float]) -> dict[str, float]:
    """The largest peak of each precision that this CPU has multiply-adds for.

    Values of a reduced precision fit into the wider ones too, so where its own instruction is
    the slower one (bf16 on some Intel CPUs) the wider peak is the limit.
    """
    best: dict[str, float] = {}
    for name, loop in _loops().items():
        best[loop.precision] = max(best.get(loop.precision, 0.0), peaks[name])
    return {precision: max(rate, best.get("fp32", 0.0)) for precision, rate in best.items()}
