"""Progress bars on standard error; standard output is for results."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["bar"]


@contextlib.contextmanager
def bar(description: str, *, total: int, completed: int = 0) -> Iterator[Callable[..., None]]:
    """Show a bar; call what it gives with `completed=`, `description=` or both."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(description, total=total, completed=completed)
        yield functools.partial(progress.update, task)
