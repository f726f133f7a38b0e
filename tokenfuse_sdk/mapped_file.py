"""A plain file, read once for its hash and then mapped: its bytes take no memory until used."""

from __future__ import annotations

import hashlib
import mmap
import os
import weakref

from tokenfuse_sdk.plain_file import FileChangedError, open_plain_file

__all__ = ["MappedFile", "map_plain_file"]

# Large, so that a thread that hashes seldom waits for one that runs Python, but little beside the
# file.
_MIN_CHUNK_BYTES, _MAX_CHUNK_BYTES, _CHUNK_SHARE = 1 << 18, 8 << 20, 16


class MappedFile:
    """What was a plain file's content when its sha256 was taken.

    The file must stay as it is while it is mapped: other bytes are seen here too, and a file
    that is cut short ends the process that reads behind its end. `check_unchanged` tells.

    Attributes:
        data: the bytes, read-only, as a view of the mapping.
        sha256: hexadecimal.
    """

    def __init__(self, descriptor: int, path: str | os.PathLike[str], status: os.stat_result):
        """Take over a descriptor of the file, which is read from its beginning."""
        weakref.finalize(self, os.close, descriptor)
        self._descriptor, self._path, self._status = descriptor, path, status
        self.sha256 = self._hash()
        self._mapping = self._map()
        self.data = memoryview(self._mapping or b"")
        self.check_unchanged()

    def _hash(self) -> str:
        """By plain reading: a disk that fails then is an error, and not the end of the process."""
        digest, num_bytes = hashlib.sha256(), 0
        share = self._status.st_size // _CHUNK_SHARE
        chunk = memoryview(bytearray(max(_MIN_CHUNK_BYTES, min(share, _MAX_CHUNK_BYTES))))
        with os.fdopen(self._descriptor, "rb", buffering=0, closefd=False) as file:
            while count := file.readinto(chunk):
                num_bytes += count
                digest.update(chunk[:count])
                if num_bytes > self._status.st_size:
                    break
        if num_bytes != self._status.st_size:
            raise self._changed()
        return digest.hexdigest()

    def _map(self) -> mmap.mmap | None:
        if self._status.st_size == 0:  # It cannot be mapped.
            return None
        try:
            return mmap.mmap(self._descriptor, self._status.st_size, access=mmap.ACCESS_READ)
        except ValueError as error:  # The file ends before its size: it was cut since.
            raise self._changed() from error

    def _changed(self) -> FileChangedError:
        return FileChangedError(f"{os.fspath(self._path)} changed while it was read")

    def check_unchanged(self) -> None:
        """Raise FileChangedError where somebody wrote to the file since it was opened."""
        now, then = os.fstat(self._descriptor), self._status
        if (now.st_size, now.st_mtime_ns) != (then.st_size, then.st_mtime_ns):
            raise self._changed()

    def release(self, begin: int, end: int) -> None:
        """Take bytes out of the process's memory, where the system can; they can be read again."""
        if self._mapping is None or not hasattr(mmap, "MADV_DONTNEED"):
            return
        begin -= begin % mmap.PAGESIZE
        self._mapping.madvise(mmap.MADV_DONTNEED, begin, end - begin)


def map_plain_file(
    path: str | os.PathLike[str], *, max_bytes: int, follow_links: bool = True
) -> MappedFile:
    """Hash and map a file; its kind and size are checked before anything is read.

    Args and errors: as `read_plain_file`.
    """
    descriptor, status = open_plain_file(path, max_bytes=max_bytes, follow_links=follow_links)
    return MappedFile(descriptor, path, status)
