"""Work on a thread: its result, its error, and nothing before it is over."""

from __future__ import annotations

import threading

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
    with pytest.raises(ValueError, match="no"):
        work.result()


def test_an_error_of_the_caller_waits_for_the_work():
    caller_failed, over = threading.Event(), []

    def slow() -> None:
        assert caller_failed.wait(30)
        over.append(True)

    with pytest.raises(KeyError), Background(slow):
        caller_failed.set()
        raise KeyError
    assert over == [True]
