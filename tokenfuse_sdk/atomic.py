"""Write files and folders so that a reader sees the old state or the new, never half of one."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

__all__ = ["atomic_folder", "sync_folder", "write_file"]


def sync_folder(path: pathlib.Path) -> None:
    """Make renames inside `path` survive a power cut, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` through a temporary file beside it and a rename."""
    target = pathlib.Path(path)
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    temporary = pathlib.Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes it private; give it the mode that open() would have.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


@contextlib.contextmanager
def atomic_folder(target: pathlib.Path, *, overwrite: bool) -> Iterator[pathlib.Path]:
    """Yield a temporary folder that becomes `target` when the block ends without error.

    With `overwrite` an existing target is moved away first and removed last; when
    anything fails it is put back. The caller has checked that the target may be
    replaced.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield temporary
        for path in sorted(temporary.rglob("*")):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        temporary.chmod(0o755)
        sync_folder(temporary)
        if overwrite and target.exists():
            _swap(temporary, target)
        else:
            temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(target.parent)


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
    shutil.rmtree(old, ignore_errors=True)
