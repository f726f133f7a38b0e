"""The whole answer by us and by every other runtime: same weights, same inputs, one run.

    python benchmarks/peers.py --model tiny --threads 2

Measured is a prepared picture and a question's ids in, two answer ids out. Before anything is
timed, each contestant's logits are compared with the float32 reference; float32 contestants
must agree. Contestants take turns (`timing.compare`), each in a process of its own that is
halted between its turns (`peers/turns.py` says why). One that is not installed, or does not
run, is listed with the reason.

The graphs of the runtimes are the plain ones of `tokenfuse_export`: their decoder has no cache
of keys and values, and runs both rows in both steps. For an answer of two tokens that is less
than 2% of the work of tiny and small.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence

_HELPERS = pathlib.Path(__file__).with_name("peers")
sys.path.append(str(_HELPERS))

import timing  # noqa: E402
import with_tokenfuse  # noqa: E402
from report import (  # noqa: E402
    Row,
    StartRow,
    print_rows,
    print_starts,
    row_of,
    save_plot,
    write_json,
)
from turns import Failure, Worker, prepare_contestant, time_start  # noqa: E402
from work import Task  # noqa: E402

# Name, precision, module of `peers/`, variant.
_PEERS = (
    ("torch eager", "fp32", "with_torch", "eager"),
    ("torch eager", "bf16", "with_torch", "eager"),
    ("torch compile", "fp32", "with_torch", "compile"),
    ("torch compile", "bf16", "with_torch", "compile"),
    ("onnxruntime", "fp32", "with_onnxruntime", ""),
    ("onnxruntime", "int8", "with_onnxruntime", ""),
    ("openvino", "fp32", "with_openvino", "f32"),
    ("openvino", "bf16", "with_openvino", "bf16"),
    ("openvino", "int8", "with_openvino", "f32"),
    ("openvino bf16+", "int8", "with_openvino", "bf16"),
)
# Of the logits' root mean square.
_FP32_BOUND = 1e-3
# The fastest contestant's turn takes at least this long, so that one call more or less on a
# machine that others share is not the whole turn.
_TURN_SECONDS = 20e-3
_MAX_REPEATS = 50
_START_ROUNDS = 5


@dataclasses.dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    precision: str
    module: str
    variant: str

    @property
    def label(self) -> str:
        return f"{self.name} {self.precision}"

    @property
    def starts(self) -> bool:
        """Whether it is a runtime for devices, whose start and memory are compared."""
        return self.module != "with_torch"


def _entries(only: Sequence[str]) -> list[_Entry]:
    ours = [
        ("tokenfuse", precision, "with_tokenfuse", "") for precision in with_tokenfuse.precisions()
    ]
    entries = [_Entry(*fields) for fields in (*ours, *_PEERS)]
    return [e for e in entries if not only or any(word in e.label for word in only)]


class _Run:
    """One batch size and number of threads: who takes part, and their processes."""

    def __init__(self, folder: str, entries: list[_Entry], batch: int, threads: int) -> None:
        self.batch, self.threads = batch, threads
        self.absent: dict[str, str] = {}
        self.entries: dict[str, _Entry] = {}
        self._workers: dict[str, Worker] = {}
        self._tasks = {
            entry.label: Task(
                folder=folder,
                module=entry.module,
                variant=entry.variant,
                precision=entry.precision,
                batch_size=batch,
                num_threads=threads,
            )
            for entry in entries
        }
        for entry in entries:
            self._admit(entry)

    def _admit(self, entry: _Entry) -> None:
        print(f"  opening {entry.label}", file=sys.stderr, flush=True)
        task = self._tasks[entry.label]
        try:
            prepare_contestant(task)
            self._workers[entry.label] = Worker(task)
        except Failure as why:
            self.absent[entry.label] = str(why)
        else:
            self.entries[entry.label] = entry

    def _dismiss(self, label: str, why: Failure) -> None:
        self.absent[label] = str(why)
        self._workers.pop(label).close()
        del self.entries[label]

    def close(self) -> None:
        for worker in self._workers.values():
            worker.close()

    def check(self) -> None:
        """Raise when a float32 contestant does not compute the reference's logits."""
        for label, worker in self._workers.items():
            error = worker.errors["relative_err"]
            # `not <` also catches NaN.
            if self.entries[label].precision == "fp32" and not error < _FP32_BOUND:
                raise SystemExit(f"{label}: logits off by {error:.1e} of their root mean square")

    def rows(self, work: str, rounds: int) -> list[Row]:
        """Time everybody: `timing.compare` checks, warms up and says whose turn it is.

        The seconds are those that each process took of its own calls; a turn holds the same
        number of calls for all.
        """
        first_turns: dict[str, list[float]] = {}
        for label, worker in list(self._workers.items()):
            try:
                first_turns[label] = worker.turn(work, 3)
            except Failure as why:
                self._dismiss(label, why)
        if not first_turns:
            return []
        fastest = min(min(seconds) for seconds in first_turns.values())
        repeats = min(_MAX_REPEATS, math.ceil(_TURN_SECONDS / fastest))
        seconds: dict[str, list[list[float]]] = {label: [] for label in self._workers}

        def turn_of(label: str) -> Callable[[], object]:
            return lambda: seconds[label].append(self._workers[label].turn(work, repeats))

        case = timing.Case(
            name=work,
            contestants={label: turn_of(label) for label in self._workers},
            check=self.check,
        )
        timing.compare(case, rounds)
        return [
            row_of(
                # Before the rounds come the turns of the warm-up.
                seconds[label][-rounds:],
                name=self.entries[label].name,
                precision=self.entries[label].precision,
                batch=self.batch,
                threads=self.threads,
                max_abs_err=worker.errors["max_abs_err"],
                relative_err=worker.errors["relative_err"],
            )
            for label, worker in self._workers.items()
        ]

    def start_rows(self, cache: str) -> list[StartRow]:
        """Start processes in turn. The first start of each is not counted: it fills caches."""
        labels = [label for label, entry in self.entries.items() if entry.starts]
        if not labels:
            return []
        tasks = {
            label: dataclasses.replace(self._tasks[label], cache=f"{cache}/{label}")
            for label in labels
        }
        starts: dict[str, list[tuple[float, int]]] = {label: [] for label in labels}
        for turn in range(1 + _START_ROUNDS):
            for label in labels[turn % len(labels) :] + labels[: turn % len(labels)]:
                starts[label].append(time_start(tasks[label]))
        return [self._start_row(label, starts[label][1:]) for label in labels]

    def _start_row(self, label: str, starts: list[tuple[float, int]]) -> StartRow:
        low, median, high = (
            1e3 * s for s in statistics.quantiles([seconds for seconds, _ in starts], n=4)
        )
        return StartRow(
            name=self.entries[label].name,
            precision=self.entries[label].precision,
            threads=self.threads,
            first_answer_ms=median,
            quartiles_ms=(low, high),
            peak_mb=statistics.median(peak for _, peak in starts) / 1e6,
        )


def _runs(folder: str, options: argparse.Namespace) -> Iterator[_Run]:
    for batch in options.batch:
        for threads in options.threads:
            run = _Run(folder, _entries(options.only), batch, threads)
            try:
                yield run
            finally:
                run.close()


def _title(options: argparse.Namespace, run: _Run, work: str) -> str:
    count = "1 picture" if run.batch == 1 else f"{run.batch} pictures"
    threads = "1 thread" if run.threads == 1 else f"{run.threads} threads"
    return f"{options.model}: {work}, {count}, {threads}"


def _measure(folder: str, options: argparse.Namespace) -> dict[str, list]:
    stored: dict[str, list] = {"rows": [], "follow_up": [], "start": [], "absent": []}
    for run in _runs(folder, options):
        rows = run.rows("answer", options.rounds)
        print_rows(_title(options, run, "the whole answer"), rows, run.absent)
        stored["rows"] += rows
        stored["absent"] += [
            {"contestant": label, "batch": run.batch, "threads": run.threads, "why": why}
            for label, why in run.absent.items()
        ]
        if run.batch == 1 and "follow-up" not in options.skip:
            rows = run.rows("follow_up", options.rounds)
            print_rows(_title(options, run, "a follow-up question"), rows, run.absent)
            stored["follow_up"] += rows
        # The open contestants are halted, and take no time from those that start.
        if run.batch == 1 and "start" not in options.skip:
            starts = run.start_rows(f"{folder}/cache{run.threads}")
            print_starts(starts, run.absent)
            stored["start"] += starts
    return stored


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="nano, tiny, small, base, or a bundle")
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="for example 1 8 32")
    parser.add_argument("--rounds", type=int, default=21, help="turns of each contestant, from 2")
    parser.add_argument("--only", nargs="+", default=[], help="contestants with these words")
    parser.add_argument("--skip", nargs="+", default=[], choices=("follow-up", "start"))
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--plot", type=pathlib.Path, metavar="FILE", help="a PNG")
    return parser.parse_args()


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="tokenfuse-peers-") as folder:
        print("  writing weights, inputs, reference and graphs", file=sys.stderr, flush=True)
        batches = [str(batch) for batch in options.batch]
        subprocess.run(
            [sys.executable, str(_HELPERS / "prepare.py"), options.model, folder, *batches],
            check=True,
        )
        stored = _measure(folder, options)
    if options.json:
        as_dicts = {
            key: [row if isinstance(row, dict) else row.to_dict() for row in rows]
            for key, rows in stored.items()
        }
        facts = {
            "hardware": timing.hardware(),
            "commit": timing.commit(),
            "model": options.model,
        }
        write_json(options.json, facts | as_dicts)
    if options.plot and stored["rows"]:
        first = stored["rows"][0]
        shown = [r for r in stored["rows"] if (r.batch, r.threads) == (first.batch, first.threads)]
        save_plot(
            options.plot,
            f"{options.model}: the whole answer, batch {first.batch}, {first.threads} threads\n"
            f"{timing.hardware()['cpu']}",
            shown,
        )


if __name__ == "__main__":
    main()
