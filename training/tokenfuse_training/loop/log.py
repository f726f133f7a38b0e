"""The log of a run: one JSON object a line, and the same values for TensorBoard."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.errors import CheckpointError

__all__ = ["LOG_NAME", "RunLog", "cut_log"]

LOG_NAME = "log.jsonl"


def cut_log(path: pathlib.Path, step: int) -> None:
    """Remove what was logged behind `step`, and a line that was not written to its end."""
    if not path.exists():
        return
    kept = 0
    with path.open("rb") as file:
        for line in file:
            try:
                values = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n") or values["step"] > step:
                break
            kept += len(line)
    os.truncate(path, kept)


class RunLog:
    """Written by rank 0; a context manager.

    Args:
        directory: of the run.
        step: the run goes on behind it; what was logged later is removed.
        tensorboard: write event files too, into `tensorboard/`.

    Raises:
        ConfigError: tensorboard is not installed.
        CheckpointError: the log cannot be written.
    """

    def __init__(self, directory: pathlib.Path, step: int, *, tensorboard: bool) -> None:
        self._directory = directory
        self._writer: Any = None
        with self._typed():
            directory.mkdir(parents=True, exist_ok=True)
            cut_log(directory / LOG_NAME, step)
            self._file = (directory / LOG_NAME).open("a", encoding="utf-8")
        if tensorboard:
            self._writer = self._event_writer(step)

    def _event_writer(self, step: int) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "run.tensorboard=true needs the package tensorboard; pip install "
                "'tokenfuse-sdk[train]', or set run.tensorboard=false"
            ) from error
        with self._typed():
            # Readers drop what was logged behind the step that a run goes on from, also where it
            # was killed before its first checkpoint.
            return SummaryWriter(str(self._directory / "tensorboard"), purge_step=step + 1)

    @contextlib.contextmanager
    def _typed(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CheckpointError(
                f"the log in {self._directory} cannot be written ({error}); make room and start "
                "again: the run goes on from its last checkpoint"
            ) from error

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        # A full disk was said already, or is said by the checkpoint behind this.
        with contextlib.suppress(OSError):
            self._file.close()
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()

    def write(self, values: Mapping[str, Any]) -> None:
        """A line; `step` is in it."""
        with self._typed():
            self._file.write(json.dumps(values) + "\n")
            self._file.flush()
            if self._writer is not None:
                for name, value in values.items():
                    if name != "step" and not isinstance(value, str):
                        self._writer.add_scalar(name, value, values["step"])
                self._writer.flush()

    def sync(self) -> None:
        """Make sure that what was written survives a power cut: before a checkpoint says so."""
        with self._typed():
            os.fsync(self._file.fileno())
