"""Work on a thread of its own, beside what its caller does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

__all__ = ["Background"]

T = TypeVar("T")


class Background(Generic[T]):
    """Calls a function on a thread; a context manager, which waits for it at its end.

    Args:
        work: takes nothing.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:  # It is raised where the result is asked for.
            self._error = error

    def __enter__(self) -> Background[T]:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.join()

    def result(self) -> T:
        """What the function returned, or raise what it raised; after the context."""
        if self._error is not None:
            # The traceback holds this object: without a way back, both are gone at once.
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error
        return self._result
