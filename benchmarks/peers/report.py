"""What was measured, as rows: tables and a JSON file."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

__all__ = [
    "AnswersRow",
    "Row",
    "StartRow",
    "as_json",
    "print_answers",
    "print_rows",
    "print_starts",
    "row_of",
    "write_json",
]

OURS = "tokenfuse"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One contestant's times for one piece of work.

    Attributes:
        name, precision: the contestant; ours begin with "tokenfuse".
        batch, threads: pictures with a question each per call, and threads.
        median_ms, quartiles_ms: of the rounds' medians.
        p95_ms: of all calls.
        max_abs_err: of the logits, to the float32 reference.
        relative_err: the same over the logits' root mean square.
        turns_ms: the rounds' medians, in order, so that rounds can be paired.
    """

    name: str
    precision: str
    batch: int
    threads: int
    median_ms: float
    quartiles_ms: tuple[float, float]
    p95_ms: float
    max_abs_err: float
    relative_err: float
    turns_ms: tuple[float, ...]

    @property
    def label(self) -> str:
        return f"{self.name} {self.precision}"

    @property
    def is_ours(self) -> bool:
        return self.name.startswith(OURS)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StartRow:
    """From the start of a process to its first answer, and its peak memory."""

    name: str
    precision: str
    threads: int
    first_answer_ms: float
    quartiles_ms: tuple[float, float]
    peak_mb: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AnswersRow:
    """The test, counted: answers equal to the float32 reference's, and right answers."""

    name: str
    precision: str
    num_questions: int
    same: int
    right: int


def row_of(rounds: Sequence[Sequence[float]], **facts: Any) -> Row:
    """A row from the seconds of each call of each round."""
    turns = tuple(1e3 * statistics.median(calls) for calls in rounds)
    low, median, high = statistics.quantiles(turns, n=4, method="inclusive")
    calls = sorted(1e3 * seconds for turn in rounds for seconds in turn)
    return Row(
        median_ms=median,
        quartiles_ms=(low, high),
        p95_ms=calls[min(len(calls) - 1, math.ceil(0.95 * len(calls)) - 1)],
        turns_ms=turns,
        **facts,
    )


def _ratio(row: Row, peer: Row) -> tuple[float, float, float]:
    """How many times faster than the peer: quartiles of the ratios within a round."""
    pairs = zip(peer.turns_ms, row.turns_ms, strict=True)
    ratios = [other / own for other, own in pairs]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return low, median, high


def _best_peer(rows: Sequence[Row]) -> Row | None:
    """The fastest contestant that is not ours."""
    peers = [row for row in rows if not row.is_ours]
    return min(peers, key=lambda row: row.median_ms) if peers else None


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows of one run as plain types, with the ratio to its best peer."""
    best, stored = _best_peer(rows), []
    for row in rows:
        fields = dataclasses.asdict(row)
        del fields["turns_ms"]
        if best:
            low, ratio, high = _ratio(row, best)
            fields |= {
                "best_peer": best.label,
                "times_faster_than_best_peer": ratio,
                "ratio_quartiles": (low, high),
            }
        stored.append(fields)
    return stored


def print_rows(title: str, rows: Sequence[Row], absent: dict[str, str]) -> None:
    """A table, fastest first; ratios to the fastest contestant that is not ours."""
    best = _best_peer(rows)
    print(f"\n{title}")
    print(
        f"  {'':<28}{'median':>10}{'quartiles':>20}{'p95':>10}{'logits off':>12}"
        + (f"   times faster than {best.label}" if best else "")
    )
    for row in sorted(rows, key=lambda row: row.median_ms):
        low, high = row.quartiles_ms
        line = (
            f"{'*' if row.is_ours else ' '} {row.label:<28}{row.median_ms:>7.2f} ms"
            f"{f'[{low:.2f}, {high:.2f}]':>20}{row.p95_ms:>7.2f} ms{row.max_abs_err:>12.1e}"
        )
        if best:
            down, ratio, up = _ratio(row, best)
            line += f"   {ratio:.2f} x [{down:.2f}, {up:.2f}]"
        print(line)
    _print_absent(absent)


def _print_absent(absent: dict[str, str]) -> None:
    for label, why in absent.items():
        print(f"  {label:<28}{why}")


def print_answers(rows: Sequence[AnswersRow], absent: dict[str, str]) -> None:
    """A table of the test."""
    print("\nunseen scenes: answers equal to the float32 reference's, and right ones")
    for row in sorted(rows, key=lambda row: -row.same):
        same, right = (100 * count / row.num_questions for count in (row.same, row.right))
        print(
            f"{'*' if row.name.startswith(OURS) else ' '} {f'{row.name} {row.precision}':<28}"
            f"{same:>8.2f}%{right:>10.2f}%   of {row.num_questions}"
        )
    _print_absent(absent)


def print_starts(rows: Sequence[StartRow], absent: dict[str, str]) -> None:
    """A table of starts and memory."""
    print("\nprocess start to first answer, and peak resident memory")
    for row in sorted(rows, key=lambda row: row.first_answer_ms):
        low, high = row.quartiles_ms
        print(
            f"{'*' if row.name.startswith(OURS) else ' '} {f'{row.name} {row.precision}':<28}"
            f"{row.first_answer_ms:>7.0f} ms{f'[{low:.0f}, {high:.0f}]':>20}"
            f"{row.peak_mb:>10.1f} MB"
        )
    _print_absent(absent)


def write_json(path: pathlib.Path, stored: dict[str, Any]) -> None:
    """Write the file whole or not at all."""
    from tokenfuse_sdk.atomic import write_file

    write_file(path, (json.dumps(stored, indent=1) + "\n").encode())
