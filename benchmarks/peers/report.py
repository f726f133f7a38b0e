"""What was measured, as rows: a table, a JSON file, a plot."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

__all__ = ["Row", "StartRow", "print_rows", "print_starts", "row_of", "save_plot", "write_json"]

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

    def to_dict(self) -> dict[str, Any]:
        fields = dataclasses.asdict(self)
        del fields["turns_ms"]
        return fields


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StartRow:
    """From the start of a process to its first answer, and its peak memory."""

    name: str
    precision: str
    threads: int
    first_answer_ms: float
    quartiles_ms: tuple[float, float]
    peak_mb: float

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


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


def print_rows(title: str, rows: Sequence[Row], absent: dict[str, str]) -> None:
    """A table, fastest first; ratios to the fastest contestant that is not ours."""
    peers = [row for row in rows if not row.is_ours]
    best = min(peers, key=lambda row: row.median_ms) if peers else None
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
    for label, why in absent.items():
        print(f"  {label:<28}{why}")


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
    for label, why in absent.items():
        print(f"  {label:<28}{why}")


def write_json(path: pathlib.Path, stored: dict[str, Any]) -> None:
    """Write the file whole or not at all."""
    from tokenfuse_sdk.atomic import write_file

    write_file(path, (json.dumps(stored, indent=1) + "\n").encode())


def save_plot(path: pathlib.Path, title: str, rows: Sequence[Row]) -> None:
    """Bars of the medians, fastest on top, with the quartiles; a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    ordered = sorted(rows, key=lambda row: -row.median_ms)
    medians = [row.median_ms for row in ordered]
    spread = [
        [row.median_ms - row.quartiles_ms[0] for row in ordered],
        [row.quartiles_ms[1] - row.median_ms for row in ordered],
    ]
    figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.36 * len(ordered)), layout="constrained")
    colors = ["#d1495b" if row.is_ours else "#8d99ae" for row in ordered]
    labels = [row.label for row in ordered]
    bars = axes.barh(labels, medians, xerr=spread, color=colors, error_kw={"lw": 1})
    axes.bar_label(bars, labels=[f"{value:.2f}" for value in medians], padding=6, fontsize=8)
    axes.set_xlabel("milliseconds, median and quartiles (less is better)")
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    figure.savefig(path, format="png", dpi=150)
    pyplot.close(figure)
