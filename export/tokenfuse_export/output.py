"""Where an output is made: beside its place, with errors of ours where it cannot be written."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile
from collections.abc import Iterator

from tokenfuse_sdk.errors import OutputPathError, TokenfuseError

__all__ = ["output_errors", "work_beside"]


@contextlib.contextmanager
def output_errors(what: str, output: pathlib.Path) -> Iterator[None]:
    """Around what writes: of what is read, others know better what to say.

    Args:
        what: is written, as a user calls it.
        output: where to.

    Raises:
        OutputPathError: it cannot be written, or the disk is full.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, TokenfuseError) or error.errno is None:
            raise
        raise OutputPathError(
            f"{what} cannot be written to {output} ({error.strerror}); pass an output in a folder "
            "that you may write to and that has room. Nothing of it is there"
        ) from error


@contextlib.contextmanager
def work_beside(what: str, output: pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary folder beside `output`; what fits in it fits there, and a full disk shows early.

    Args and errors: of `output_errors`, for making it.
    """
    with output_errors(what, output):
        output.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent)
    with folder as name:
        yield pathlib.Path(name)
