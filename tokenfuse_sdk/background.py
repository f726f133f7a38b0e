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

    Where the system gives no thread, the function is called at the beginning, by the caller's.

    Args:
        work: takes nothing.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:  # It is raised where the result is asked for.
            self._error, self._trace = error, error.__traceback__
        finally:
            del self  # As a caller of `result` does.

    def __enter__(self) -> Background[T]:
        assert self._thread is not None
        try:
            self._thread.start()
        except RuntimeError:  # A limit of processes, or of memory.
            self._thread = None
            self._run()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is not None:
            self._thread.join()

    def result(self) -> T:
        """What the function returned, or raise what it raised; after the context.

        A caller that lets the error through drops this object first: the error's traceback holds
        the caller's variables, and this object the error, so that both would wait for the garbage
        collector, and with them what the function held.
        """
        if self._error is None:
            return self._result
        try:
            raise self._error.with_traceback(self._trace)
        finally:
            del self
