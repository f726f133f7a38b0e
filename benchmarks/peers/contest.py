"""The contestants of one batch size and number of threads: opened, checked, timed in turns."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import statistics
import sys
from collections.abc import Callable, Sequence

import timing
from contestants import Entry
from report import AnswersRow, Row, StartRow, row_of
from turns import Failure, Worker, ask_test, prepare_contestant, time_start
from work import QUESTIONS, Task, batch_part

__all__ = ["Contest", "Pace", "ask_all"]

# Of the logits' root mean square; float32 sums in another order stay a hundred times below.
_FP32_BOUND = 1e-3
_MAX_REPEATS = 50
# Of the weights, mostly float16: what the hungriest contestant (compiled, frozen) takes to open.
_OPENING_MEMORY = 6


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much is measured.

    Attributes:
        rounds: turns of each contestant, from 2.
        turn_seconds: the fastest contestant's turn takes at least this long, so that one call
            more or less on a machine that others share is not the whole turn.
        start_rounds: starts of each that count, from 2.
        num_questions: of the test.
    """

    rounds: int
    turn_seconds: float
    start_rounds: int
    num_questions: int


class _Lost(Exception):
    """A contestant failed in its turn."""

    def __init__(self, label: str, why: Failure) -> None:
        super().__init__(label)
        self.label, self.why = label, why


def _need_memory(task: Task) -> None:
    """Refuse to open what the system would have to kill, or swap, all of them for."""
    info = pathlib.Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    free = next(1024 * int(line.split()[1]) for line in info if line.startswith("MemAvailable:"))
    needed = _OPENING_MEMORY * task.weights_path.stat().st_size
    if needed > free:
        raise Failure(
            f"{free / 1e9:.1f} GB of memory are free beside those that are open, and it may take "
            f"{needed / 1e9:.1f}; run it with --only"
        )


def _judge(entry: Entry, errors: dict[str, float]) -> None:
    """Refuse a contestant that does not compute the reference's logits.

    Reduced precisions are judged by their figures in the table; only NaN is none.
    """
    error = errors["relative_err"]
    if math.isfinite(error) and (entry.precision != "fp32" or error < _FP32_BOUND):
        return
    why = f"its logits are off by {error:.1e} of their root mean square"
    if entry.is_ours:
        raise SystemExit(f"{entry.label}: {why}")
    raise Failure(why)


class Contest:
    """Opens all at once; those that do not run are in `absent` with the reason."""

    def __init__(self, folder: str, entries: Sequence[Entry], batch: int, threads: int) -> None:
        self.batch, self.threads = batch, threads
        self.absent: dict[str, str] = {}
        self._entries: dict[str, Entry] = {}
        self._workers: dict[str, Worker] = {}
        self._tasks = {e.label: e.task(folder, batch_part(batch), batch, threads) for e in entries}
        try:
            for entry in entries:
                self._admit(entry)
        except BaseException:
            self.close()
            raise

    def _admit(self, entry: Entry) -> None:
        print(f"  opening {entry.label}", file=sys.stderr, flush=True)
        task = self._tasks[entry.label]
        try:
            _need_memory(task)
            prepare_contestant(task)
            self._workers[entry.label] = worker = Worker(task)
            self._entries[entry.label] = entry
            _judge(entry, worker.errors)
        except Failure as why:
            self._dismiss(entry.label, why)

    def _dismiss(self, label: str, why: Failure) -> None:
        self.absent[label] = str(why)
        self._entries.pop(label, None)
        if label in self._workers:
            self._workers.pop(label).close()

    def close(self) -> None:
        for worker in self._workers.values():
            worker.close()

    def rows(self, work: str, pace: Pace) -> list[Row]:
        """Time everybody at "answer" or "follow_up"; again without whoever fails."""
        while self._workers:
            try:
                return self._rows(work, pace)
            except _Lost as lost:
                self._dismiss(lost.label, lost.why)
        return []

    def _turn(self, label: str, work: str, repeats: int) -> list[float]:
        try:
            return self._workers[label].turn(work, repeats)
        except Failure as why:
            raise _Lost(label, why) from why

    def _rows(self, work: str, pace: Pace) -> list[Row]:
        """`timing.compare` warms up and says whose turn it is.

        The seconds are those that each process took of its own calls; a turn holds the same
        number of calls for all.
        """
        fastest = min(min(self._turn(label, work, 3)) for label in self._workers)
        repeats = min(_MAX_REPEATS, max(1, math.ceil(pace.turn_seconds / fastest)))
        seconds: dict[str, list[list[float]]] = {label: [] for label in self._workers}

        def turn_of(label: str) -> Callable[[], object]:
            return lambda: seconds[label].append(self._turn(label, work, repeats))

        case = timing.Case(
            name=work,
            contestants={label: turn_of(label) for label in self._workers},
            # Each was judged when it opened.
            check=lambda: None,
        )
        timing.compare(case, pace.rounds)
        return [
            row_of(
                # Before the rounds come the turns of the warm-up.
                seconds[label][-pace.rounds :],
                name=self._entries[label].name,
                precision=self._entries[label].precision,
                batch=self.batch,
                threads=self.threads,
                max_abs_err=worker.errors["max_abs_err"],
                relative_err=worker.errors["relative_err"],
            )
            for label, worker in self._workers.items()
        ]

    def start_rows(self, cache: str, pace: Pace) -> list[StartRow]:
        """Start processes in turn, while the open ones are halted and take no time.

        The first start of each is not counted: it fills caches.
        """
        labels = [label for label, entry in self._entries.items() if entry.starts]
        starts: dict[str, list[tuple[float, int]]] = {label: [] for label in labels}
        for turn in range(1 + pace.start_rounds):
            first = turn % max(1, len(labels))
            for label in labels[first:] + labels[:first]:
                if label not in starts:
                    continue
                task = dataclasses.replace(self._tasks[label], cache=f"{cache}/{label}")
                try:
                    starts[label].append(time_start(task))
                except Failure as why:
                    self.absent[label] = f"its start failed: {why}"
                    del starts[label]
        return [self._start_row(label, both[1:]) for label, both in starts.items()]

    def _start_row(self, label: str, starts: list[tuple[float, int]]) -> StartRow:
        low, median, high = (
            1e3 * s for s in statistics.quantiles([seconds for seconds, _ in starts], n=4)
        )
        return StartRow(
            name=self._entries[label].name,
            precision=self._entries[label].precision,
            threads=self.threads,
            first_answer_ms=median,
            quartiles_ms=(low, high),
            peak_mb=statistics.median(peak for _, peak in starts) / 1e6,
        )


def ask_all(
    folder: str, entries: Sequence[Entry], threads: int
) -> tuple[list[AnswersRow], dict[str, str]]:
    """Let one after the other answer the test; nothing is timed. Rows, and who is absent."""
    rows, absent = [], {}
    for entry in entries:
        print(f"  asking {entry.label}", file=sys.stderr, flush=True)
        try:
            counts = ask_test(entry.task(folder, QUESTIONS, 1, threads))
        except Failure as why:
            absent[entry.label] = str(why)
        else:
            rows.append(AnswersRow(name=entry.name, precision=entry.precision, **counts))
    return rows, absent
