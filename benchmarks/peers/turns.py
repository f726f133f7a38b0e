"""The side that times: contestants as processes, of which one runs and all others are stopped.

Why processes, and why stopped: the runtimes have pools of their own (OpenMP, TBB, ONNX
Runtime's, ours), and most of them let their threads spin for a while after a call, which on a
machine with as many cores as threads is taken from whoever comes next. Turning the spinning off
would slow the contestant itself. So every contestant keeps its best setting, and between its
turns its whole process is halted by SIGSTOP: no thread of it runs. Times are taken inside the
process, so neither the pipe nor the wake-up is in them.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

from work import Task

__all__ = ["Failure", "Worker", "ask_test", "prepare_contestant", "time_start"]

_WORKER = pathlib.Path(__file__).with_name("worker.py")


class Failure(RuntimeError):
    """A contestant cannot take part; the message says why."""


def _environment(task: Task) -> dict[str, str]:
    threads = str(task.num_threads)
    # OpenMP reads it before any call of a framework could set it.
    return os.environ | {"OMP_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false"}


def _last_line(log: Any) -> str:
    log.seek(0)
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "no message")[:200]


class _Process:
    """A worker and its log."""

    def __init__(self, mode: str, task: Task) -> None:
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self.process = subprocess.Popen(
            [sys.executable, str(_WORKER), mode, task.to_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=_environment(task),
            text=True,
        )

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise Failure(_last_line(self.log))
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        # KILL also ends a process that is stopped.
        self.process.kill()
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self.log):
            if file is not None:
                file.close()


def prepare_contestant(task: Task) -> None:
    """Make the files that it needs, in a process that then ends.

    Raises:
        Failure: a package is missing, or its tool failed.
    """
    process = _Process("prepare", task)
    try:
        lacking = process.read()["missing"]
    finally:
        process.close()
    if lacking:
        raise Failure(f"missing: {', '.join(lacking)}")


def ask_test(task: Task) -> dict[str, int]:
    """Let it answer the test: "num_questions", "same" as the reference, "right".

    Raises:
        Failure: it does not open, or stops; says why.
    """
    prepare_contestant(task)
    process = _Process("ask", task)
    try:
        return process.read()
    finally:
        process.close()


class Worker:
    """An open contestant. It runs while a call here waits for it, and never else.

    Raises:
        Failure: it does not open; says why.
    """

    def __init__(self, task: Task) -> None:
        self._process = _Process("turns", task)
        try:
            self.errors = self._process.read()
        except BaseException:
            self.close()
            raise
        self._signal(signal.SIGSTOP)

    def _signal(self, number: int) -> None:
        if self._process.process.poll() is None:
            self._process.process.send_signal(number)

    def turn(self, work: str, repeats: int) -> list[float]:
        """Seconds of each of `repeats` calls, after one that is not timed."""
        stdin = self._process.process.stdin
        assert stdin is not None
        self._signal(signal.SIGCONT)
        try:
            stdin.write(json.dumps({"work": work, "repeats": repeats}) + "\n")
            stdin.flush()
            seconds: list[float] = self._process.read()["seconds"]
        except BrokenPipeError:
            raise Failure("its process ended") from None
        finally:
            self._signal(signal.SIGSTOP)
        return seconds

    def close(self) -> None:
        self._process.close()


def time_start(task: Task) -> tuple[float, int]:
    """Seconds from the start of a process to its first answer, and its peak memory in bytes."""
    began = time.perf_counter()
    process = _Process("start", task)
    try:
        process.read()
        seconds = time.perf_counter() - began
        return seconds, int(process.read()["peak_bytes"])
    finally:
        process.close()
