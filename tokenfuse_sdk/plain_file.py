"""Read a plain file of limited size, opened once: what was checked is what is read."""

from __future__ import annotations

import errno
import os
import stat

__all__ = [
    "FileChangedError",
    "FileTooLargeError",
    "NotPlainFileError",
    "PlainFileError",
    "open_plain_file",
    "read_plain_file",
]


class PlainFileError(OSError):
    """The file is there, but is not one that may be read. Callers raise their own in its place."""


class NotPlainFileError(PlainFileError):
    """A pipe, a socket or a device."""


class FileTooLargeError(PlainFileError):
    """More bytes than allowed: `num_bytes`."""

    def __init__(self, path: str | os.PathLike[str], num_bytes: int, max_bytes: int) -> None:
        super().__init__(f"{os.fspath(path)} has {num_bytes} bytes; at most {max_bytes}")
        self.num_bytes = num_bytes


class FileChangedError(PlainFileError):
    """Another size at the end than at the beginning."""


def open_plain_file(
    path: str | os.PathLike[str], *, max_bytes: int, follow_links: bool = True
) -> tuple[int, os.stat_result]:
    """A descriptor of a file, whose kind and size were checked, and what they are.

    Args and errors: as `read_plain_file`, but for `FileChangedError`.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    if not follow_links:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(status.st_mode):
            raise NotPlainFileError(f"{os.fspath(path)} is not a plain file")
        if status.st_size > max_bytes:
            raise FileTooLargeError(path, status.st_size, max_bytes)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status


def read_plain_file(
    path: str | os.PathLike[str], *, max_bytes: int, follow_links: bool = True
) -> bytes:
    """The bytes of a file; its kind and size are checked before anything is read.

    Args:
        path: where it is. A named pipe there does not block.
        max_bytes: larger files are refused.
        follow_links: False refuses a link with `errno.ELOOP`, where the system can.

    Raises:
        PlainFileError: one of the kinds above.
        IsADirectoryError: a folder, as `open` says it.
        OSError: it is not there or cannot be opened.
        ValueError: a path that no file can have.
    """
    descriptor, status = open_plain_file(path, max_bytes=max_bytes, follow_links=follow_links)
    try:
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            # One byte more than there should be shows that it has grown.
            data = file.read(status.st_size + 1)
    finally:
        os.close(descriptor)
    if len(data) != status.st_size:
        raise FileChangedError(f"{os.fspath(path)} changed while it was read")
    return data
