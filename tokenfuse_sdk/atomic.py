"""Write files and folders so that a reader never sees half of one.

A reader finds the old state or the new. One case is weaker: where the system cannot exchange
two paths (Linux can, on most file systems), a folder that replaces another is not there for a
moment between two renames.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import pathlib
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator

from tokenfuse_sdk.errors import OutputPathError

__all__ = [
    "atomic_folder",
    "check_folder_beside",
    "check_output_file",
    "one_writer",
    "remove_unfinished",
    "sync_folder",
    "write_file",
    "write_output",
]


def sync_folder(path: pathlib.Path) -> None:
    """Make renames inside `path` survive a power cut, where the system can."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        # It may be written but not listed: what is in it is whole, and that is all we can say.
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` through a temporary file beside it and a rename.

    Raises:
        OSError: the folder is not there (FileNotFoundError) or cannot be written, and is
            named; or `path` cannot be replaced.
    """
    target = pathlib.Path(path)
    # Part of the name only: with all of it, the longest names would have no temporary file.
    temporary = target.parent / f".{target.name[:32]}.{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        # As open() would: the system takes the umask off.
        descriptor = os.open(temporary, flags, 0o666)
    except OSError as error:
        # The user knows nothing of the temporary file: what is wrong is its folder.
        raise OSError(error.errno, error.strerror, str(target.parent)) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            temporary.replace(target)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(target)) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def check_output_file(path: str | os.PathLike[str], *, what: str, other: str) -> None:
    """Check what can be said of a path before there is a file: call it before long work.

    Args and errors: as `write_output`.
    """
    if not os.fspath(path):
        raise OutputPathError(f"{what} cannot be written to an empty path; pass {other}")
    if os.path.isdir(path):
        raise OutputPathError(
            f"{what} cannot be written to {path}, which is a folder; pass {other}"
        )
    folder = pathlib.Path(path).parent
    try:
        is_folder = stat.S_ISDIR(os.stat(folder).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        is_folder = False
    except (OSError, ValueError):
        # It cannot even be asked for: writing says why.
        return
    if not is_folder:
        raise OutputPathError(
            f"{what} cannot be written to {path}: there is no folder {folder}; make it, or pass "
            f"{other}"
        )


def write_output(path: str | os.PathLike[str], data: bytes, *, what: str, other: str) -> None:
    """`write_file` to a path that a user gave.

    Args:
        path: the file.
        data: its bytes.
        what: is written, as a user calls it.
        other: what to pass where this path does not serve.

    Raises:
        OutputPathError: no file can be made there; says why, and nothing is left.
    """
    check_output_file(path, what=what, other=other)
    try:
        write_file(path, data)
    except (OSError, ValueError) as error:
        reason = str(error)
        if isinstance(error, OSError):
            reason = f"{error.strerror}: {error.filename or path}"
        raise OutputPathError(
            f"{what} cannot be written to {path} ({reason}); pass {other}, in a folder "
            "that you may write to and that has room"
        ) from error


def _with_a_name(target: pathlib.Path) -> pathlib.Path:
    """The absolute path: `.` has no name by which another folder can take its place.

    A link in the last place stays one.
    """
    if target.name in ("", ".."):
        return target.resolve()
    return target.parent.resolve() / target.name


def _folder_beside(target: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))


def check_folder_beside(target: pathlib.Path) -> None:
    """Check what `atomic_folder` needs to replace a folder: call it before long work.

    Raises:
        OSError: no folder can be made beside it; names the folder that both lie in.
    """
    target = _with_a_name(target)
    # Tried, for only the system knows: root and a disk that is read-only have their own rules.
    try:
        _folder_beside(target).rmdir()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target.parent)) from error


@contextlib.contextmanager
def atomic_folder(target: pathlib.Path, *, overwrite: bool) -> Iterator[pathlib.Path]:
    """Yield a temporary folder that becomes `target` when the block ends without error.

    With `overwrite` an existing target changes places with the new folder in one step, and
    is then removed. Where the system cannot do that, it is moved away first, and put back
    when the second rename fails. The caller has checked that the target may be replaced.
    """
    target = _with_a_name(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _folder_beside(target)
    try:
        yield temporary
        for path in sorted(temporary.rglob("*")):
            if path.is_dir():
                sync_folder(path)
            elif path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        replaces = overwrite and target.exists()
        # A folder that others may not read stays one.
        temporary.chmod(stat.S_IMODE(target.stat().st_mode) if replaces else 0o755)
        sync_folder(temporary)
        if replaces:
            if _exchange(temporary, target):
                _remove(temporary)
            else:
                _swap(temporary, target)
        else:
            temporary.rename(target)
    except BaseException:
        _remove(temporary)
        raise
    sync_folder(target.parent)


def _remove(folder: pathlib.Path) -> None:
    """Remove a folder with all that it holds, as far as the system allows."""
    # Files of a folder that cannot be written cannot be removed.
    with contextlib.suppress(OSError):
        for path in (folder, *folder.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def remove_unfinished(target: pathlib.Path) -> None:
    """Remove what `atomic_folder` left of `target` in a process that was killed.

    Only for who holds `one_writer` of it, as all who write it do: what is there is nobody's.
    """
    target = _with_a_name(target)
    for folder in target.parent.glob(f".{glob.escape(target.name)}.*"):
        _remove(folder)


@contextlib.contextmanager
def one_writer(target: pathlib.Path) -> Iterator[bool]:
    """Hold what lies beside `target` against others that call this: true where the system can.

    For the moments from a look at the target to its exchange; a process that ends lets go.
    """
    if os.name != "posix":
        yield False
        return
    import fcntl

    try:
        # The folder that it lies in: the target itself is exchanged for another one.
        descriptor = os.open(_with_a_name(target).parent, os.O_RDONLY)
    except OSError:
        # It may not be listed, or is not there: who writes will say so.
        yield False
        return
    held = False
    try:
        # Some network file systems have no locks.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            held = True
        yield held
    finally:
        os.close(descriptor)


def _exchange(first: pathlib.Path, second: pathlib.Path) -> bool:
    """Exchange two paths in one step; False where the system or the file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if renameat2(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0:
        return True
    code = ctypes.get_errno()
    # An old kernel, a sandbox, or a file system without it.
    if code in (errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(second))


def _swap(temporary: pathlib.Path, target: pathlib.Path) -> None:
    old = pathlib.Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    moved = old / target.name
    target.rename(moved)
    try:
        temporary.rename(target)
    except BaseException:
        moved.rename(target)
        old.rmdir()
        raise
    _remove(old)
