"""What is being done, on standard error."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

__all__ = ["status"]


@contextlib.contextmanager
def status(first: str, *, shown: bool) -> Iterator[Callable[[str], None]]:
    """A line that changes; nothing where standard error is no terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield lambda what: None
        return
    with console.status(first) as line:
        yield line.update
