"""Processes that make batches, in the order in which they were asked to.

Each worker is a spawned process at the end of a pipe, and a thread here that speaks with it.
PyTorch's DataLoader draws its whole order by itself, where here the next plan may depend on the
last loss; and it passes tensors through /dev/shm, of which containers have 64 MB. A worker whose
training process was killed reads the end of its pipe, and ends too.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import multiprocessing.connection
import signal
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from tokenfuse_sdk.errors import TokenfuseError
from tokenfuse_training.data.batch import Batch
from tokenfuse_training.data.sample import Drawn
from tokenfuse_training.errors import DataError

__all__ = ["Workers"]

Collate = Callable[[Sequence[Drawn]], Batch]


def _as_arrays(batch: Batch) -> dict[str, Any]:
    values = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    return {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in values.items()}


def _as_tensors(values: dict[str, Any]) -> Batch:
    """`_as_arrays` undone: what is an array there is a tensor here."""
    return Batch(
        **{k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in values.items()}
    )


def _work(collate: Collate, pipe: multiprocessing.connection.Connection) -> None:
    """A worker: batches for what comes, until the pipe ends."""
    # Ctrl-C goes to every process of the terminal; the training process ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    while True:
        try:
            drawn = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer: Any = _as_arrays(collate(drawn))
        except TokenfuseError as error:
            answer = error
        except Exception:  # It is raised in the training process, with this trace.
            answer = RuntimeError(f"a data worker failed:\n{traceback.format_exc()}")
        try:
            pipe.send(answer)
        except OSError:
            return


class _Worker:
    def __init__(self, collate: Collate) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(collate, theirs), daemon=True)
        self._process.start()
        # Else the pipe would never end for us.
        theirs.close()
        self._thread = ThreadPoolExecutor(1, "data-worker")

    def ask(self, drawn: Future[list[Drawn]]) -> Future[Batch]:
        return self._thread.submit(self._ask, drawn)

    def _ask(self, drawn: Future[list[Drawn]]) -> Batch:
        asked = drawn.result()
        try:
            self._pipe.send(asked)
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join(1.0)
            raise DataError(
                f"a data worker has ended (exit code {self._process.exitcode}); -9 is often "
                "memory that ran out: set fewer run.num_workers, or a smaller batch_size"
            ) from error
        if isinstance(answer, BaseException):
            raise answer
        return _as_tensors(answer)

    def stop(self) -> None:
        """It only reads, so it can be ended at any moment."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._process.terminate()

    def join(self) -> None:
        self._process.join()
        self._thread.shutdown(wait=True)
        self._pipe.close()
        self._process.close()


class Workers:
    """Workers that take turns.

    Args:
        collate: makes a batch; pickled to each worker once.
        num_workers: at least 1.
    """

    def __init__(self, collate: Collate, num_workers: int) -> None:
        self._workers = [_Worker(collate) for _ in range(num_workers)]
        self._turn = 0

    def ask(self, drawn: Future[list[Drawn]]) -> Future[Batch]:
        """Have a batch made of what will have been drawn."""
        worker = self._workers[self._turn]
        self._turn = (self._turn + 1) % len(self._workers)
        return worker.ask(drawn)

    def close(self) -> None:
        """End the processes; what was not made is cancelled."""
        for worker in self._workers:
            worker.stop()
        for worker in self._workers:
            worker.join()
