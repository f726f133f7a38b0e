"""What the system says of a place that cannot be written, as an error of ours."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

from tokenfuse_sdk.errors import OutputPathError, TokenfuseError

__all__ = ["output_errors"]


@contextlib.contextmanager
def output_errors(what: str, output: pathlib.Path) -> Iterator[None]:
    """Around the work that ends in `output`, which leaves nothing where it fails.

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
