"""What a data set is to the trainer: records by number, or streams of samples.

Either way sample p of a task (p = 0, 1, 2, ... over the whole run, counted over all ranks) is a
pure function of the seed and p: any number of ranks and workers reads the same samples, and a
run resumes by its counters alone. Rank r of W takes the positions with p % W == r.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeGuard

from tokenfuse_training.data.record import Record

__all__ = ["IndexedSource", "Source", "StreamSource", "is_indexed", "is_stream"]


class IndexedSource(Protocol):
    """Records by number; opening it reads the index files alone, and it pickles to workers."""

    @property
    def fingerprint(self) -> str:
        """Changes where other records would be read; a checkpoint keeps it."""
        ...

    def __len__(self) -> int:
        """Pictures."""
        ...

    def record(self, index: int) -> Record:
        """Record `index`.

        Raises:
            BadRecordError: it cannot be used.
        """
        ...


class StreamSource(Protocol):
    """Endless streams of raw samples, epoch after epoch, read in this process in order.

    Sample p of the task is sample p // num_streams of stream p % num_streams.
    """

    @property
    def fingerprint(self) -> str: ...

    @property
    def num_streams(self) -> int: ...

    def open_stream(self, stream: int, *, seed: int, skip: int) -> Iterator[Any]:
        """Raw samples of one stream, the first `skip` passed over without decoding.

        A sample that cannot be read at all is given as the BadRecordError that says so.
        """
        ...

    def record(self, sample: Any) -> Record:
        """A raw sample as a record; called in a worker.

        Raises:
            BadRecordError: it cannot be used.
        """
        ...


Source = IndexedSource | StreamSource


def is_indexed(source: Source) -> TypeGuard[IndexedSource]:
    """Whether its records have numbers."""
    return hasattr(source, "__len__")


def is_stream(source: Source) -> TypeGuard[StreamSource]:
    """Whether it gives samples in order alone."""
    return hasattr(source, "open_stream")
