"""The whole answer by us and by every other runtime: same weights, same inputs, one run.

    python benchmarks/peers.py --model tiny --threads 1,2 --batch 1,8,32

Measured is a prepared picture and a question's ids in, two answer ids out; the same without the
picture, which was encoded before; the start of a process to its first answer, and its peak
memory. Before anything is timed, each contestant's logits are compared with the float32
reference; float32 contestants must agree. Contestants take turns (`timing.compare`), each in a
process of its own that is halted between its turns (`peers/turns.py` says why). One that is not
installed, or does not run, is listed with the reason; what each runs with is listed too.

A bundle that knows the words of `scenes` is timed on pictures and questions of their test split,
quantisers calibrate on those of the validation split, and every contestant answers a test, of
which is counted how many answers equal the float32 reference's, and how many are right.

All contestants are open at once: for `base` that is more memory than most machines have. Those
that do not fit are listed; run them with `--only tokenfuse openvino`, for example.

The graphs of the runtimes are those of `tokenfuse_export` with fixed lengths: their decoder is
called without a cache of known ids, and runs both rows in both steps. For an answer of two
tokens that is less than 2% of the work of tiny and small.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import signal
import subprocess
import sys
import tempfile
from typing import Any

_HELPERS = pathlib.Path(__file__).with_name("peers")
sys.path.append(str(_HELPERS))

import timing  # noqa: E402
from contest import Contest, Pace, ask_all  # noqa: E402
from contestants import Entry, entries  # noqa: E402
from plot import save_plot  # noqa: E402
from report import (  # noqa: E402
    Row,
    as_json,
    print_answers,
    print_rows,
    print_starts,
    write_json,
)
from work import QUESTIONS  # noqa: E402


@dataclasses.dataclass(slots=True)
class _Stored:
    """What goes into the file, by its keys there, and into the plot."""

    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    follow_up: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    start: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    answers: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    absent: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    settings: dict[str, str] = dataclasses.field(default_factory=dict)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number > 1)}"


def _measure(
    folder: str, taking_part: list[Entry], options: argparse.Namespace, pace: Pace
) -> tuple[_Stored, dict[str, list[Row]]]:
    stored, panels = _Stored(), {}
    stored.settings = {entry.label: entry.settings for entry in taking_part}
    for batch in options.batch:
        for threads in options.threads:
            contest = Contest(folder, taking_part, batch, threads)
            try:
                panels |= _run(contest, folder, options, pace, stored)
            finally:
                contest.close()
            stored.absent += [
                {"contestant": label, "batch": batch, "threads": threads, "why": why}
                for label, why in contest.absent.items()
            ]
    if (pathlib.Path(folder) / QUESTIONS).exists():
        answers, absent = ask_all(folder, taking_part, max(options.threads))
        print_answers(answers, absent)
        stored.answers = [dataclasses.asdict(row) for row in answers]
        stored.absent += [
            {"contestant": label, "work": "questions", "why": why} for label, why in absent.items()
        ]
    elif pace.num_questions:
        print("\nno test: the weights are random, or do not know the words of scenes")
    return stored, panels


def _run(
    contest: Contest, folder: str, options: argparse.Namespace, pace: Pace, stored: _Stored
) -> dict[str, list[Row]]:
    """One batch size and number of threads; a panel of the plot."""
    where = f"{_counted(contest.batch, 'picture')}, {_counted(contest.threads, 'thread')}"
    rows = contest.rows("answer", pace)
    print_rows(f"{options.model}: the whole answer, {where}", rows, contest.absent)
    stored.rows += as_json(rows)
    if contest.batch == 1 and "follow-up" not in options.skip:
        later = contest.rows("follow_up", pace)
        print_rows(f"{options.model}: a follow-up question, {where}", later, contest.absent)
        stored.follow_up += as_json(later)
    if contest.batch == 1 and "start" not in options.skip:
        starts = contest.start_rows(f"{folder}/cache{contest.threads}", pace)
        print_starts(starts, contest.absent)
        stored.start += [dataclasses.asdict(row) for row in starts]
    return {where: rows}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="nano, tiny, small, base, or a bundle")
    parser.add_argument("--threads", type=timing.counts, default=[2], help="for example 1,2")
    parser.add_argument("--batch", type=timing.counts, default=[1], help="for example 1,8,32")
    parser.add_argument("--rounds", type=int, default=21, help="turns of each contestant, from 2")
    parser.add_argument("--questions", type=int, default=1000, help="of a bundle's test; 0: none")
    parser.add_argument("--only", nargs="+", default=[], help="contestants with these words")
    parser.add_argument("--skip", nargs="+", default=[], choices=("follow-up", "start"))
    parser.add_argument("--quick", action="store_true", help="whether all run, not how fast")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--plot", type=pathlib.Path, metavar="FILE", help="a PNG")
    options = parser.parse_args()
    if options.rounds < 2 or options.questions < 0:
        parser.error("need --rounds of 2 or more and --questions of 0 or more")
    return options


def _pace(options: argparse.Namespace) -> Pace:
    if options.quick:
        few = min(options.questions, 8)
        return Pace(rounds=2, turn_seconds=0.0, start_rounds=2, num_questions=few)
    return Pace(
        rounds=options.rounds,
        turn_seconds=20e-3,
        start_rounds=5,
        num_questions=options.questions,
    )


def main() -> None:
    # Whoever ends this ends the contestants too, and the folder of some gigabytes is removed.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    options = _options()
    taking_part, pace = entries(options.only), _pace(options)
    with tempfile.TemporaryDirectory(prefix="tokenfuse-peers-") as folder:
        print("  writing weights, inputs, reference and graphs", file=sys.stderr, flush=True)
        numbers = map(str, (pace.num_questions, *options.batch))
        command = [sys.executable, str(_HELPERS / "prepare.py"), options.model, folder, *numbers]
        prepared = subprocess.run(command, check=False)
        if prepared.returncode:
            sys.exit("nothing was measured: the inputs could not be written, for the reason above")
        stored, panels = _measure(folder, taking_part, options, pace)
    print("\nsettings")
    for label, line in stored.settings.items():
        print(f"  {label:<28}{line}")
    if options.json:
        facts = {
            "hardware": timing.hardware(),
            "commit": timing.commit(),
            "model": options.model,
        }
        write_json(options.json, facts | dataclasses.asdict(stored))
    if options.plot and any(panels.values()):
        title = f"{options.model}: the whole answer, {timing.hardware()['cpu']}"
        save_plot(options.plot, title, panels)


if __name__ == "__main__":
    main()
