"""Work on a thread: its result, its error, and nothing before it is over."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref

import pytest

from tokenfuse_sdk.background import Background


def test_the_result_comes_from_another_thread():
    with Background(threading.get_ident) as work:
        pass
    assert work.result() != threading.get_ident()


def test_an_error_is_raised_where_the_result_is_asked_for():
    def fail() -> None:
        raise ValueError("no")

    with Background(fail) as work:
        pass
    lengths = []
    for _ in range(3):
        with pytest.raises(ValueError, match="no") as caught:
            work.result()
        lengths.append(len(caught.traceback))
    assert lengths == lengths[:1] * 3
    assert caught.traceback[-1].name == "fail"


def test_where_the_system_gives_no_thread_the_caller_works(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    def fail() -> None:
        raise ValueError("no")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with Background(threading.get_ident) as work:
        pass
    assert work.result() == threading.get_ident()
    with Background(fail) as work:
        pass
    with pytest.raises(ValueError, match="no"):
        work.result()


class Held:
    """Something that can be seen to be gone."""


def test_what_the_work_held_is_gone_with_the_error():
    held = []

    def fail() -> None:
        mine = Held()
        held.append(weakref.ref(mine))
        raise ValueError("no")

    def ask() -> None:
        with Background(fail) as work:
            pass
        try:
            work.result()
        finally:
            del work

    gc.disable()
    try:
        with contextlib.suppress(ValueError):
            ask()
        assert held[0]() is None
    finally:
        gc.enable()


def test_an_error_of_the_caller_waits_for_the_work():
    caller_failed, over = threading.Event(), []

    def slow() -> None:
        assert caller_failed.wait(30)
        over.append(True)

    with pytest.raises(KeyError), Background(slow):
        caller_failed.set()
        raise KeyError
    assert over == [True]
