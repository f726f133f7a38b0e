"""Which files the brace patterns of a data set name."""

from __future__ import annotations

import collections
import itertools
import os
import pathlib
import re
from collections.abc import Sequence

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.config.data_settings import WebDatasetData
from tokenfuse_training.errors import DataError

__all__ = ["named", "shard_paths"]

_MAX_SHARDS = 1_000_000
_MAX_NAMED = 5
_COMPRESSED = (".gz", ".tgz", ".bz2", ".xz", ".zst")
_RANGE = re.compile(r"\{(-?\d+)\.\.(-?\d+)")


def named(paths: Sequence[str]) -> str:
    """The first few paths, and how many more there are."""
    more = f" and {len(paths) - _MAX_NAMED} more" if len(paths) > _MAX_NAMED else ""
    return ", ".join(paths[:_MAX_NAMED]) + more


def shard_paths(settings: WebDatasetData) -> list[str]:
    """The shards of all patterns, in order.

    Raises:
        DataError: one is missing, no plain file, compressed or named twice, or a pattern is broken.
        ConfigError: the library is not installed.
    """
    paths = [
        str(pathlib.Path(settings.root, name))
        for pattern in settings.shards
        for name in _expanded(pattern)
    ]
    if len(set(paths)) < len(paths):
        twice = [path for path, count in collections.Counter(paths).items() if count > 1]
        raise DataError(f"shards: {named(twice)} named more than once; name each shard once")
    compressed = [path for path in paths if path.endswith(_COMPRESSED)]
    if compressed:
        raise DataError(
            f"shards: {named(compressed)} compressed; unpack them to plain .tar files (pictures "
            "do not get smaller by it)"
        )
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise DataError(
            f"shards: {len(missing)} of {len(paths)} files are not there or no plain files: "
            f"{named(missing)}. Nothing is downloaded; check `shards` and `root`"
        )
    return paths


def _expanded(pattern: str) -> list[str]:
    try:
        # A dependency of webdataset, which expands its own patterns with it.
        import webdataset  # noqa: F401
        from braceexpand import UnbalancedBracesError, braceexpand
    except ImportError as error:
        raise ConfigError("tar shards need webdataset: `pip install '.[train]'`") from error

    wide = [a for a, b in _RANGE.findall(pattern) if abs(int(b) - int(a)) >= _MAX_SHARDS]
    try:
        names = [] if wide else list(itertools.islice(braceexpand(pattern), _MAX_SHARDS + 1))
    except UnbalancedBracesError as error:
        raise DataError(
            f"shards: the braces of {pattern!r} are not balanced; write cc-{{000000..000331}}.tar"
        ) from error
    if wide or len(names) > _MAX_SHARDS:
        raise DataError(f"shards: {pattern!r} means more than {_MAX_SHARDS:,} files")
    return names
