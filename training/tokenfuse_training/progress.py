"""Progress bars on standard error; standard output is for results."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["bar"]


@contextlib.contextmanager
def bar(
    description: str, *, total: int | None, completed: int = 0
) -> Iterator[Callable[..., None]]:
    """Show a bar; call what it gives with `completed=`, `description=`, `total=` or several.

    Without a total it shows that something is done, and not how much is left.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(description, total=total, completed=completed)
        yield functools.partial(progress.update, task)
