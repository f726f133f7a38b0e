"""Records of a data set that a task can use: for golden outputs, and to see that any is."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from tokenfuse_training.data.sample import Drawn, Sample, SampleMaker
from tokenfuse_training.data.source import Source, is_indexed, is_stream
from tokenfuse_training.errors import BadRecordError

__all__ = ["NUM_TRIES", "usable_samples"]

# Records to look at, evenly over the data set: what is missing often lies together.
NUM_TRIES = 400


def usable_samples(
    maker: SampleMaker, task: str, count: int, said: list[str] | None = None
) -> list[Sample]:
    """At most `count` samples of a task, from at most `NUM_TRIES` records.

    Args:
        maker: of the task's stage.
        task: its name.
        count: of samples.
        said: gets what the records said that cannot be used.
    """
    found: list[Sample] = []
    with _raws(maker.sources[maker.stage.tasks[task].data], maker.seed) as raws:
        for position, raw in enumerate(itertools.islice(raws, NUM_TRIES)):
            if len(found) >= count:
                break
            try:
                found.append(maker.make(Drawn(task=task, position=position, raw=raw)))
            except BadRecordError as error:
                if said is not None:
                    said.append(str(error))
    return found


@contextlib.contextmanager
def _raws(source: Source, seed: int) -> Iterator[Iterable[Any]]:
    if not is_stream(source):
        assert is_indexed(source)
        yield range(0, len(source), -(-len(source) // NUM_TRIES) or 1)
        return
    stream = source.open_stream(0, seed=seed, skip=0)
    try:
        yield stream
    finally:
        # A generator holds a shard open.
        close = getattr(stream, "close", None)
        if close is not None:
            close()
