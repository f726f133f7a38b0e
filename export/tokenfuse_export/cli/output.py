"""An output that is there, told in the words of the command line."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

from tokenfuse_sdk.errors import BundleExistsError, OutputExistsError

__all__ = ["existing_output_told"]


@contextlib.contextmanager
def existing_output_told(output: pathlib.Path, *, overwrite: bool) -> Iterator[None]:
    """What the SDK calls `overwrite=True` is an option here.

    Raises:
        OutputExistsError: there is something at `output`, and `overwrite` was not given.
        BundleExistsError: it was, but what is there is no bundle.
    """
    try:
        yield
    except BundleExistsError as error:
        if overwrite:
            raise
        raise OutputExistsError(
            f"{output} exists; pass --overwrite, or another --output"
        ) from error
