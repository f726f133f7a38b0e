"""The one timer: contestants take turns in one run, and the ratio is of turns side by side.

A machine that others share is faster in one second than in the next. So every round times
each contestant once, in an order that changes from round to round, and what is reported is the
median over rounds, its spread, and the median of the ratios within a round.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Case", "commit", "compare", "counts", "hardware", "main"]

_RESULTS = pathlib.Path(__file__).parent / "results"
# A turn is at least this long, so that the clock and a call cost nothing beside it.
_TURN_SECONDS = 2e-3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question: the same work by every contestant.

    Attributes:
        name: the shape, in words.
        contestants: name to a call that does the work once; the first is ours, the last the
            one that it is compared with.
        check: raises when the contestants do not agree; run before anything is timed.
        macs: multiply-accumulates of the work, 0 where they say nothing.
    """

    name: str
    contestants: Mapping[str, Callable[[], object]]
    check: Callable[[], None]
    macs: int = 0


def counts(text: str) -> list[int]:
    """A command line's numbers of 1 and more, with commas between them."""
    numbers = [int(part) for part in text.split(",")]
    if min(numbers) < 1:
        raise ValueError(text)
    return numbers


def hardware() -> dict[str, Any]:
    """What the numbers were measured on."""
    model = platform.processor() or platform.machine()
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def commit() -> str:
    """Of this checkout, "-dirty" behind it where files were changed."""
    folder = pathlib.Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _calls_per_turn(call: Callable[[], object]) -> int:
    call()
    began = time.perf_counter()
    count = 0
    while time.perf_counter() - began < _TURN_SECONDS:
        call()
        count += 1
    return max(count, 1)


def _turn(call: Callable[[], object], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count


def compare(case: Case, rounds: int) -> dict[str, Any]:
    """Check, warm up, interleave; medians, spreads and ratios to the last contestant."""
    case.check()
    names = list(case.contestants)
    counts = {name: _calls_per_turn(case.contestants[name]) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(_turn(case.contestants[name], counts[name]))
    rows = {}
    for name in names:
        quarters = statistics.quantiles(seconds[name], n=4)
        pairs = zip(seconds[names[-1]], seconds[name], strict=True)
        ratios = statistics.quantiles([other / own for other, own in pairs], n=4)
        rows[name] = {
            "median_us": 1e6 * quarters[1],
            "quartiles_us": [1e6 * quarters[0], 1e6 * quarters[2]],
            f"times_faster_than_{names[-1]}": ratios[1],
            "ratio_quartiles": [ratios[0], ratios[2]],
            "gmacs_per_s": case.macs / quarters[1] / 1e9,
        }
    return {"case": case.name, "macs": case.macs, "rounds": rounds, "contestants": rows}


def _print(result: dict[str, Any]) -> None:
    print(f"\n{result['case']}")
    for name, row in result["contestants"].items():
        ratio = next(value for key, value in row.items() if key.startswith("times"))
        low, high = row["ratio_quartiles"]
        rate = f"  {row['gmacs_per_s']:7.1f} GMAC/s" if result["macs"] else ""
        print(
            f"  {name:<22} {row['median_us']:10.1f} us  {ratio:6.2f} x"
            f"  [{low:.2f}, {high:.2f}]{rate}"
        )


def main(question: str, make_cases: Callable[[argparse.Namespace], list[Case]]) -> None:
    """Command line of a benchmark script: run its cases, print, and store on `--save`."""
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--num-threads", type=int, default=1)
    parser.add_argument("--save", metavar="HARDWARE", help="store under results/ by this name")
    options = parser.parse_args()
    print(question)
    results = []
    for case in make_cases(options):
        results.append(compare(case, options.rounds))
        _print(results[-1])
    if options.save:
        today = datetime.date.today().isoformat()
        path = _RESULTS / f"{options.save}_{today}.json"
        stored = json.loads(path.read_text()) if path.exists() else {"hardware": hardware()}
        key = f"{question} [{options.num_threads} threads]"
        stored.setdefault("questions", {})[key] = {"commit": commit(), "cases": results}
        _RESULTS.mkdir(exist_ok=True)
        path.write_text(json.dumps(stored, indent=1) + "\n")
