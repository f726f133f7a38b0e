"""What a tar shard holds, from its headers alone: samples, and where their parts lie; the parts.

Names are read as the webdataset library reads them: `000012.jpg` and `000012.txt` that follow
each other are one sample of key `000012`; what comes behind the first dot of the last part of a
name is its extension, in lower case; `__name__` is none of a sample's.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tarfile
from collections.abc import Collection, Iterator
from typing import Any

from tokenfuse_training.errors import BadRecordError

__all__ = ["ShardEntry", "read_ahead", "read_index", "read_part"]

# As in webdataset.tariterators.tar_file_iterator.
_META = re.compile(r"__[^/]*__($|/)")
_BLOCK_BYTES = 512


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ShardEntry:
    """A sample of a shard; `parts` has (offset, bytes) of each wanted extension that it has."""

    path: str
    key: str
    parts: dict[str, tuple[int, int]]


class _DamagedError(Exception):
    """The rest of a shard cannot be read."""


def read_index(path: str, extensions: Collection[str]) -> Iterator[ShardEntry | BadRecordError]:
    """The samples of a shard, in order, by its headers alone.

    A shard that is truncated or damaged ends with one BadRecordError in place of the sample that
    it broke off in; a name that comes twice in one sample is one too, and the first of them is
    taken.
    """
    from webdataset.tariterators import group_by_keys

    odd: list[Exception] = []

    def note(error: Exception) -> bool:
        odd.append(error)
        return True

    try:
        for sample in group_by_keys(_members(path), handler=note):
            parts = {name: sample[name] for name in extensions if name in sample}
            yield ShardEntry(path=path, key=sample["__key__"], parts=parts)
    except (_DamagedError, tarfile.TarError, OSError, EOFError, ValueError) as error:
        # The sample that was being put together is lost with it.
        yield BadRecordError(f"{path}: {error}; what is behind is passed over")
    if odd:
        yield BadRecordError(f"{path}: {odd[0].args[0]}")


def _members(path: str) -> Iterator[dict[str, Any]]:
    """Files of a shard: their names, and places in place of their data."""
    with open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
        num_bytes = os.fstat(file.fileno()).st_size
        offset = -1
        while (member := archive.next()) is not None:
            # The library keeps all that it has seen.
            archive.members.clear()
            if member.isreg() and not member.issparse() and not _META.match(member.name):
                place = (member.offset_data, member.size)
                yield {"fname": member.name, "data": place, "__url__": path}
            # Behind its name, so that the sample before it is known to be whole.
            if archive.offset <= offset or member.offset_data + member.size > num_bytes:
                raise _DamagedError(f"{member.name!r} goes beyond the end of the shard")
            offset = archive.offset
        # `next` gives None for a damaged header too, and where the file breaks off between two.
        file.seek(archive.offset)
        if file.read(_BLOCK_BYTES) != bytes(_BLOCK_BYTES):
            raise _DamagedError("the shard has no end mark: it is truncated or damaged")


def read_ahead(path: str) -> None:
    """Have the system read a shard in one piece, before its parts are asked for here and there.

    800 samples of 120 KB came a sixth sooner from a disk behind a cold cache where all four shards
    were asked for at once (four pairs of runs, two busy cores of an AMD EPYC, a virtual SSD).
    """
    if not hasattr(os, "posix_fadvise"):
        return
    try:
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
    except OSError:
        # Said where the shard is read.
        return


def read_part(path: str, place: tuple[int, int]) -> bytes:
    """The bytes of one part of an entry."""
    offset, num_bytes = place
    with open(path, "rb") as file:
        file.seek(offset)
        data = file.read(num_bytes)
    if len(data) != num_bytes:
        raise OSError(f"{path} has become shorter")
    return data
