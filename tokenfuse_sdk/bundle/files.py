"""Plain files of a bundle, verified against the manifest: size, then hash."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import pathlib
from collections.abc import Iterator

from tokenfuse_sdk.bundle.manifest import MANIFEST_NAME, FileEntry
from tokenfuse_sdk.errors import (
    BundleHashError,
    BundleLinkError,
    BundleMissingFileError,
    BundlePathError,
    BundleSizeError,
)
from tokenfuse_sdk.mapped_file import MappedFile, map_plain_file
from tokenfuse_sdk.plain_file import (
    FileChangedError,
    FileTooLargeError,
    NotPlainFileError,
    open_plain_file,
    read_plain_file,
)

__all__ = ["bundle_errors", "copy_file", "map_file", "read_file"]

_CHUNK_BYTES = 4 << 20


def _wrong_size(path: pathlib.Path, num_bytes: int, expected: FileEntry) -> BundleSizeError:
    return BundleSizeError(f"{path} has {num_bytes} bytes; {MANIFEST_NAME} says {expected.size}")


@contextlib.contextmanager
def bundle_errors(path: pathlib.Path, cap: int, expected: FileEntry | None) -> Iterator[None]:
    """What goes wrong with a file becomes an error of a bundle."""
    try:
        yield
    except FileNotFoundError as error:
        raise BundleMissingFileError(f"{path} is not there") from error
    except (NotPlainFileError, IsADirectoryError) as error:
        raise BundleLinkError(f"{path} is not a plain file") from error
    except FileTooLargeError as error:
        if expected is None or error.num_bytes > cap:
            raise BundleSizeError(f"{path} has {error.num_bytes} bytes; at most {cap}") from error
        raise _wrong_size(path, error.num_bytes, expected) from error
    except FileChangedError as error:
        raise BundleSizeError(str(error)) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BundleLinkError(f"{path} is a link; a bundle holds plain files") from error
        raise BundlePathError(f"{path} cannot be read: {error.strerror}") from error


def _check_content(path: pathlib.Path, num_bytes: int, sha256: str, expected: FileEntry) -> None:
    if num_bytes != expected.size:
        raise _wrong_size(path, num_bytes, expected)
    if sha256 != expected.sha256:
        raise BundleHashError(
            f"{path} does not have the sha256 of {MANIFEST_NAME}; it was damaged or changed. "
            "Fetch or export the bundle again"
        )


def read_file(path: pathlib.Path, cap: int, expected: FileEntry | None) -> bytes:
    """The bytes of a plain file, opened once; size checked before anything is read."""
    most = cap if expected is None else min(cap, expected.size)
    with bundle_errors(path, cap, expected):
        data = read_plain_file(path, max_bytes=most, follow_links=False)
    if expected is not None:
        _check_content(path, len(data), hashlib.sha256(data).hexdigest(), expected)
    return data


def map_file(path: pathlib.Path, cap: int, expected: FileEntry) -> MappedFile:
    """The same, without the bytes in memory."""
    with bundle_errors(path, cap, expected):
        file = map_plain_file(path, max_bytes=min(cap, expected.size), follow_links=False)
    _check_content(path, len(file.data), file.sha256, expected)
    return file


def copy_file(
    source: pathlib.Path, target: pathlib.Path, *, cap: int, expected: FileEntry | None = None
) -> FileEntry:
    """Copy a plain file by pieces to a new one, hashing it; what is `expected` is checked."""
    digest, num_bytes = hashlib.sha256(), 0
    with bundle_errors(source, cap, expected):
        descriptor, status = open_plain_file(source, max_bytes=cap, follow_links=False)
    with os.fdopen(descriptor, "rb", buffering=0) as file, target.open("xb") as copy:
        chunk = memoryview(bytearray(max(1, min(_CHUNK_BYTES, status.st_size))))
        while count := _read(file, chunk, source, cap, expected):
            num_bytes += count
            if num_bytes > status.st_size:
                break
            digest.update(chunk[:count])
            copy.write(chunk[:count])
    if num_bytes != status.st_size:
        raise BundleSizeError(f"{source} changed while it was read")
    entry = FileEntry(size=num_bytes, sha256=digest.hexdigest())
    if expected is not None:
        _check_content(source, entry.size, entry.sha256, expected)
    return entry


def _read(
    file: io.FileIO, chunk: memoryview, source: pathlib.Path, cap: int, expected: FileEntry | None
) -> int:
    # Around the reading alone: a disk that is full is no fault of the file's.
    with bundle_errors(source, cap, expected):
        return file.readinto(chunk)
