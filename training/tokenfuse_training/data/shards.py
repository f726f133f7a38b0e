"""WebDataset tar shards of image-text pairs, as endless streams.

A stream's order is a pure function of the seed, and is made of the shards' headers: the shuffle
buffer holds places, not pictures, and a sample is read when its turn comes. So a run that goes
on passes over what was seen by headers alone, and a large buffer costs no memory.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator

import numpy as np

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_sdk.preprocess.decode import MAX_FILE_BYTES
from tokenfuse_training.config.data_settings import WebDatasetData
from tokenfuse_training.data.order import generator
from tokenfuse_training.data.record import Record
from tokenfuse_training.data.shard_index import ShardEntry, read_ahead, read_index, read_part
from tokenfuse_training.data.shard_paths import named, shard_paths
from tokenfuse_training.errors import BadRecordError, DataError

__all__ = ["ShardSample", "WebDatasetSource"]

_MAX_CAPTION_BYTES = 1 << 16
# Samples to look at for a caption that differs from one's own.
_OTHER_TRIES = 8


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ShardSample:
    """A sample as read: nothing is decoded."""

    key: str
    image: bytes
    caption: bytes
    other_caption: bytes | None


class WebDatasetSource:
    """A StreamSource of the shards that `settings` names.

    Each epoch the shards are put in another order and dealt out to the streams; a stream reads
    its shards one behind the other through its shuffle buffer, to the last sample of the epoch.

    Raises:
        DataError: a shard is missing, no plain file or compressed, or a pattern is broken.
        ConfigError: more streams than shards.
    """

    def __init__(self, settings: WebDatasetData) -> None:
        self._settings = settings
        self._images = tuple(settings.image.lower().split(";"))
        self._extensions = (*self._images, settings.caption.lower())
        self._paths = shard_paths(settings)
        # Samples of a shard to take, where there is a limit, and how many it was found to have.
        self._takes: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        if 0 < settings.limit < settings.num_streams:
            raise ConfigError(
                f"limit={settings.limit} leaves some of num_streams={settings.num_streams} without "
                "a sample; set a higher limit, or fewer streams"
            )
        if settings.limit:
            self._keep_first(settings.limit)
        if settings.num_streams > len(self._paths):
            raise ConfigError(
                f"num_streams={settings.num_streams} exceeds the {len(self._paths)} shards; "
                "set fewer, or write smaller shards"
            )

    @property
    def num_streams(self) -> int:
        return self._settings.num_streams

    @property
    def fingerprint(self) -> str:
        """Of the shards' names and sizes, and of what is read of them in which order."""
        own = self._settings
        shards = [[os.path.relpath(path, own.root), os.path.getsize(path)] for path in self._paths]
        order = [own.image, own.caption, own.num_streams, own.shuffle, own.limit]
        return hashlib.sha256(json.dumps([shards, order]).encode("utf-8")).hexdigest()

    def open_stream(
        self, stream: int, *, seed: int, skip: int
    ) -> Iterator[ShardSample | BadRecordError]:
        """Raw samples of a stream, or BadRecordErrors; see `StreamSource`."""
        order = self._entries(stream, seed, skip)
        following = collections.deque(itertools.islice(order, 1 + _OTHER_TRIES))
        while True:
            entry = following.popleft()
            yield self._sample(entry, following)
            following.append(next(order))

    def record(self, sample: ShardSample) -> Record:
        """A raw sample as a record.

        Raises:
            BadRecordError: its caption is empty or no UTF-8.
        """
        caption = _text(sample.caption, sample.key)
        if not caption:
            raise BadRecordError(f"{sample.key}: the caption is empty")
        other = sample.other_caption
        return Record(
            key=sample.key,
            image=sample.image,
            captions=(caption,),
            other_caption=None if other is None else _text(other, sample.key),
        )

    def _entries(self, stream: int, seed: int, skip: int) -> Iterator[ShardEntry | BadRecordError]:
        """The stream's order behind the first `skip`, epoch after epoch."""
        for epoch in itertools.count():
            dealt = generator(seed, "shards", epoch).permutation(len(self._paths))
            paths = [self._paths[i] for i in dealt[stream :: self.num_streams]]
            if skip and all(path in self._counts for path in paths):
                total = sum(self._counts[path] for path in paths)
                if skip >= total:
                    skip -= total
                    continue
            draw = generator(seed, "shuffle", epoch, stream)
            for entry in _shuffled(
                self._in_order(paths, soon=not skip), self._settings.shuffle, draw
            ):
                if skip:
                    skip -= 1
                else:
                    yield entry
            if len(self._counts) == len(self._paths) and not any(self._counts.values()):
                raise DataError(f"there is no sample in {named(self._paths)}")

    def _in_order(self, paths: list[str], *, soon: bool) -> Iterator[ShardEntry | BadRecordError]:
        """The samples of some shards; `soon` where their pictures will be read too."""
        for path in paths:
            if soon:
                read_ahead(path)
            entries = read_index(path, self._extensions)
            count = 0
            for entry in itertools.islice(entries, self._takes.get(path)):
                count += 1
                yield entry
            self._counts[path] = count

    def _keep_first(self, limit: int) -> None:
        """Leave out all but `limit` samples: the first ones of the first shards.

        [D] At least as many shards are kept as there are streams, and these share the limit
        evenly, so that a limit does not change by how many ranks the data set can be read.
        """
        least = self.num_streams
        held: list[int] = []
        missing = limit
        for path in self._paths:
            if missing <= 0 and len(held) >= least:
                break
            index = read_index(path, self._extensions)
            held.append(sum(1 for _ in itertools.islice(index, limit)))
            missing -= held[-1]
        share, more = divmod(limit, least)
        takes = [
            min(there, share + (number < more)) if number < least else 0
            for number, there in enumerate(held)
        ]
        # What a small shard lacks is taken from the others, the first ones first.
        left = limit - sum(takes)
        for number, there in enumerate(held):
            extra = min(left, there - takes[number])
            takes[number] += extra
            left -= extra
        self._paths = self._paths[: len(held)]
        self._takes = dict(zip(self._paths, takes, strict=True))
        self._counts = dict(self._takes)

    def _sample(
        self,
        entry: ShardEntry | BadRecordError,
        following: Iterable[ShardEntry | BadRecordError],
    ) -> ShardSample | BadRecordError:
        if isinstance(entry, BadRecordError):
            return entry
        key = f"{entry.path}:{entry.key}"
        image = next((entry.parts[name] for name in self._images if name in entry.parts), None)
        caption = self._caption(entry)
        if image is None or caption is None or image[1] > MAX_FILE_BYTES:
            return BadRecordError(
                f"{key}: it has {', '.join(entry.parts) or 'no part'}; need a picture "
                f"({self._settings.image}) of at most {MAX_FILE_BYTES >> 20} MiB and a text "
                f"({self._settings.caption}) of at most {_MAX_CAPTION_BYTES >> 10} KiB"
            )
        try:
            data = read_part(entry.path, caption)
            return ShardSample(
                key=key,
                image=read_part(entry.path, image),
                caption=data,
                other_caption=self._other(data, following),
            )
        except OSError as error:
            return BadRecordError(f"{key}: cannot be read: {error.strerror or error}")

    def _other(self, own: bytes, following: Iterable[ShardEntry | BadRecordError]) -> bytes | None:
        """[D] The next caption in the stream that differs serves as another picture's."""
        for entry in following:
            if isinstance(entry, BadRecordError):
                continue
            caption = self._caption(entry)
            if caption is not None:
                other = read_part(entry.path, caption)
                if _is_text(other) and other.strip().lower() not in (b"", own.strip().lower()):
                    return other
        return None

    def _caption(self, entry: ShardEntry) -> tuple[int, int] | None:
        place = entry.parts.get(self._settings.caption.lower())
        return None if place is None or place[1] > _MAX_CAPTION_BYTES else place


def _shuffled(
    entries: Iterator[ShardEntry | BadRecordError], size: int, draw: np.random.Generator
) -> Iterator[ShardEntry | BadRecordError]:
    """A buffer of `size`, out of which each entry that comes pushes one; then the rest."""
    buffer = list(itertools.islice(entries, size))
    for entry in entries:
        place = int(draw.integers(size))
        yield buffer[place]
        buffer[place] = entry
    yield from (buffer[place] for place in draw.permutation(len(buffer)))


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _text(data: bytes, key: str) -> str:
    try:
        return data.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise BadRecordError(f"{key}: the caption is not UTF-8: {error}") from error
