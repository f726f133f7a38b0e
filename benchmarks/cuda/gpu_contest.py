"""Contestants on one device: opened one by one, checked by whoever opens them, timed in turns.

All are in this process: between its turns a contestant on a GPU does nothing. One that fails is
listed with the reason; one that fails while it is timed is taken out and the rest begins anew. An
error of the device itself ends all that follow, whose reasons then say so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
import statistics
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import timing
from our_module import NotHere
from report import Row, row_of

__all__ = ["Entrant", "Timed", "limited", "open_all", "take_turns"]

_MAX_REPEATS = 200


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """One contestant that has passed its check.

    Attributes:
        name, precision: ours begin with "tokenfuse".
        wall: does the work once and returns its seconds.
        device: does it once and returns seconds on the device, and of asking for it.
        max_abs_err, relative_err: to the reference; the second over its root mean square.
        timed: as in `GpuRow`.
        answers: equal to the reference's, None where there are none.
    """

    name: str
    precision: str
    wall: Callable[[], float]
    device: Callable[[], tuple[float, float]]
    max_abs_err: float
    relative_err: float
    timed: str
    answers: int | None = None

    @property
    def label(self) -> str:
        return f"{self.name} {self.precision}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    row: Row
    device_ms: float
    launch_ms: float


@contextlib.contextmanager
def limited(seconds: float, what: str) -> Iterator[None]:
    """End the block after so many seconds with `NotHere`; 0: whenever it ends."""
    # Python delivers signals to its first thread alone.
    if seconds <= 0 or threading.current_thread() is not threading.main_thread():
        yield
        return

    why = NotHere(f"{what} took more than {seconds:g} s")
    ended = False

    def end(number: int, frame: object) -> None:
        nonlocal ended
        ended = True
        raise why

    before = signal.signal(signal.SIGALRM, end)
    # Again and again: compilers catch what one of their attempts raises, and try the next.
    signal.setitimer(signal.ITIMER_REAL, seconds, min(seconds, 2.0))
    try:
        yield
    except Exception as error:
        # Or they raise something else for it.
        if ended and error is not why:
            raise why from error
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # The first line of a failing compilation or kernel names it, the rest is its stack.
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:200]


def open_all(
    openers: Mapping[str, Callable[[], Entrant]],
) -> tuple[list[Entrant], dict[str, str]]:
    """Those that open, and why the others do not, by label."""
    entrants, absent = [], {}
    for label, opener in openers.items():
        print(f"  opening {label}", file=sys.stderr, flush=True)
        try:
            entrants.append(opener())
        except NotHere as why:
            absent[label] = str(why)
        # Whatever a framework raises where it has no such kernel, or no memory.
        except Exception as error:
            absent[label] = _reason(error)
    return entrants, absent


def take_turns(
    entrants: list[Entrant], absent: dict[str, str], *, rounds: int, turn_seconds: float
) -> list[tuple[Entrant, Timed]]:
    """Times of all that last to the end; the others go into `absent`."""
    staying = list(entrants)
    while staying:
        try:
            return _turns(staying, rounds, turn_seconds)
        except _Lost as lost:
            absent[lost.entrant.label] = lost.why
            staying.remove(lost.entrant)
    return []


class _Lost(Exception):
    def __init__(self, entrant: Entrant, why: str) -> None:
        super().__init__(why)
        self.entrant, self.why = entrant, why


def _once(entrant: Entrant, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        raise _Lost(entrant, _reason(error)) from error


def _turns(
    entrants: list[Entrant], rounds: int, turn_seconds: float
) -> list[tuple[Entrant, Timed]]:
    # As long a turn for all of them, in calls of their own length.
    repeats = {}
    for entrant in entrants:
        fastest = max(1e-7, min(_once(entrant, entrant.wall) for _ in range(3)))
        repeats[entrant.label] = min(_MAX_REPEATS, max(1, math.ceil(turn_seconds / fastest)))
    walls: dict[str, list[list[float]]] = {e.label: [] for e in entrants}
    devices: dict[str, list[tuple[float, float]]] = {e.label: [] for e in entrants}

    def turn_of(entrant: Entrant) -> Callable[[], object]:
        def turn() -> None:
            # The first is for the clocks and caches that the one before has left behind.
            _once(entrant, entrant.wall)
            calls = range(repeats[entrant.label])
            walls[entrant.label].append([_once(entrant, entrant.wall) for _ in calls])
            devices[entrant.label].append(_once(entrant, entrant.device))

        return turn

    contestants = {e.label: turn_of(e) for e in entrants}
    # Each was checked when it opened.
    case = timing.Case(name="turns", contestants=contestants, check=lambda: None)
    timing.compare(case, rounds)
    timed = []
    for entrant in entrants:
        # Before the rounds come the turns of the warm-up.
        row = row_of(
            walls[entrant.label][-rounds:],
            name=entrant.name,
            precision=entrant.precision,
            batch=0,
            threads=1,
            max_abs_err=entrant.max_abs_err,
            relative_err=entrant.relative_err,
        )
        on_device, asking = zip(*devices[entrant.label][-rounds:], strict=True)
        told = Timed(
            row=row,
            device_ms=1e3 * statistics.median(on_device),
            launch_ms=1e3 * statistics.median(asking),
        )
        timed.append((entrant, told))
    return timed
