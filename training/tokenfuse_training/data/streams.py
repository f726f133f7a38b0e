"""The streams of one task that one rank reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.data.source import Source, StreamSource, is_indexed, is_stream
from tokenfuse_training.errors import DataError

__all__ = ["TaskStreams", "check_source"]


def check_source(name: str, source: Source, world_size: int) -> None:
    """Make sure that ranks can be fed from a data set.

    Args:
        name: of the data set, for messages.
        source: opened.
        world_size: ranks that share it out.

    Raises:
        ConfigError: streams that the ranks cannot share evenly.
        DataError: no records.
    """
    if is_stream(source):
        if source.num_streams % world_size:
            raise ConfigError(
                f"data.{name}.num_streams={source.num_streams} cannot be shared by {world_size} "
                f"ranks; set a multiple of {world_size}"
            )
    elif is_indexed(source) and not len(source):
        raise DataError(f"data {name} has no records; nothing can be trained on it")


class TaskStreams:
    """Raw samples by position: sample p is sample p // V of stream p % V of V.

    Positions of one stream must come in order; it is opened at the first that is asked for, so
    that a run that goes on passes over what was seen.

    Args:
        source: of the samples.
        seed: of the order.
    """

    def __init__(self, source: StreamSource, *, seed: int) -> None:
        self._source = source
        self._seed = seed
        self._streams: dict[int, Iterator[Any]] = {}
        self._next: dict[int, int] = {}

    def sample(self, position: int) -> Any:
        """The raw sample of a position, or the BadRecordError that was there."""
        number, stream = divmod(position, self._source.num_streams)
        if stream not in self._streams:
            opened = self._source.open_stream(stream, seed=self._seed, skip=number)
            self._streams[stream], self._next[stream] = opened, number
        assert self._next[stream] == number, f"position {position} is out of order"
        self._next[stream] += 1
        return next(self._streams[stream])
