"""What a foreign runtime throws, as an error of ours."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from tokenfuse_sdk.errors import TokenfuseError

__all__ = ["failure_told"]


@contextlib.contextmanager
def failure_told(
    what: str,
    caught: type[Exception],
    kind_of: Callable[[Exception], type[TokenfuseError]],
    *,
    line: int,
) -> Iterator[None]:
    """An error of a runtime inside the block becomes one of ours.

    Args:
        what: could not be done, by whom.
        caught: the base of the runtime's errors.
        kind_of: an error to ours.
        line: of its message, the one that says why.
    """
    try:
        yield
    except caught as error:
        lines = str(error).strip().splitlines()
        why = lines[line] if lines else type(error).__name__
        raise kind_of(error)(f"{what}: {why}") from error
