"""A lane for each thread: made when a thread first calls, handed on when a thread has ended."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

from tokenfuse_sdk.errors import ModelClosedError
from tokenfuse_sdk.runtime.tensorrt.lane import Lane

__all__ = ["Lanes"]


class _Token:
    """Goes when its thread has ended."""

    __slots__ = ("__weakref__", "lane")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane


class Lanes:
    """Those of one model. A server that begins a thread for each request has as many as there
    were requests at once, not as many as there were threads.

    Args:
        make: a new lane.
    """

    def __init__(self, make: Callable[[], Lane]) -> None:
        self._make = make
        self._own: Any = threading.local()
        self._lock = threading.Lock()
        self._all: list[Lane] = []
        self._idle: list[Lane] = []
        self._closed = threading.Event()

    def __iter__(self) -> Any:
        with self._lock:
            return iter(tuple(self._all))

    def own(self) -> Lane:
        """The calling thread's.

        Raises:
            ModelClosedError: `close` was called.
            DeviceError: the device has not the memory for another.
        """
        token: _Token | None = getattr(self._own, "token", None)
        if token is None:
            token = _Token(self._taken())
            # By the list alone: it must not keep this object, nor take its lock where it ends.
            weakref.finalize(token, self._idle.append, token.lane).atexit = False
            self._own.token = token
        return token.lane

    def _taken(self) -> Lane:
        with self._lock:
            if self._closed.is_set():
                raise ModelClosedError("the model is closed; load it again")
            if self._idle:
                return self._idle.pop()
        lane = self._make()
        with self._lock:
            self._all.append(lane)
        if self._closed.is_set():
            # Meanwhile, and without this one.
            lane.close()
        return lane

    def close(self) -> None:
        """Close every lane, each behind the call that is under way in it."""
        with self._lock:
            self._closed.set()
            lanes, self._all = self._all, []
        for lane in lanes:
            lane.close()
