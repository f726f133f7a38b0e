"""Runs of one config that die and are started again; run by test_killed.py.

`python killed_runs.py FOLDER`: `FOLDER/whole` is a run that nothing stops, `FOLDER/killed` one
that dies at each of `DEATHS` and then comes to its end. The processes are forked behind the
imports, which are paid once. `FOLDER/deaths.json` says how each ended.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import resource
import signal
import sys

from toy_run import Colors, stage, toy_config, toy_run, train, trainer_of

from tokenfuse_training.config.stage_settings import SamplerSettings, TaskSettings

SAMPLER = SamplerSettings(kind="learning_progress", warmup_steps=1, update_steps=2, ahead=3)
TASKS = {
    "ask": TaskSettings(task="vqa", data="colors", texts=2),
    "tell": TaskSettings(task="caption", data="colors"),
    "mend": TaskSettings(task="complete", data="colors"),
}
# Checkpoints fall in the middle of a line of the log, and of a stage.
CONFIG = toy_config(
    stage("first", steps=7, tasks=TASKS, sampler=SAMPLER, accumulate=2),
    stage("second", steps=9, word_order_weight=0.2, fresh_optimizer=False),
    stage("third", steps=6, freeze=("image",)),
    run=toy_run(log_steps=3, checkpoint_steps=4, keep_checkpoints=2),
)
# A record that is read, a line that is logged, bytes of a file, calls of Python's functions, those
# while a checkpoint is being written. None is told by a clock: on a quiet machine a run is over
# before it.
DEATHS = (
    ("record", 3),
    ("record", 33),
    ("line", 2),
    # Before those that may leave something unfinished behind.
    ("writing", 4_000),
    ("bytes", 0.5),
    ("call", 90_000),
    ("line", 3),
    ("bytes", 0.01),
    ("record", 14),
    ("call", 50_000),
)


@dataclasses.dataclass
class Deadly(Colors):
    """Ends the process when so many records were read."""

    left: int = 0

    def record(self, index):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().record(index)


def die_at_call(number: int, while_there: pathlib.Path | None = None) -> None:
    """Ends the process at a call, counted from here, or counted while a folder is there."""
    left = number

    def count(frame, event, argument) -> None:
        nonlocal left
        if event == "call" and (while_there is None or os.path.exists(while_there)):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)


def run_and_die(kind: str, number: float, folder: pathlib.Path, whole: pathlib.Path) -> None:
    source = Deadly(left=int(number)) if kind == "record" else Colors()
    if kind == "bytes":
        # The system ends a process that writes past the limit: here in a checkpoint.
        newest = max((whole / "checkpoints").iterdir()).stat().st_size
        limit = max(int(number * newest), 30_000)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if kind == "call":
        die_at_call(int(number))
    if kind == "writing":
        die_at_call(int(number), folder / "checkpoints" / ".unfinished")
    lines = 0

    def report(line) -> None:
        nonlocal lines
        lines += 1
        if kind == "line" and lines == number:
            os.kill(os.getpid(), signal.SIGKILL)

    trainer_of(CONFIG, folder, source).run(report)


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    train(CONFIG, folder / "whole")
    ends = []
    for kind, number in DEATHS:
        child = os.fork()
        if child == 0:
            run_and_die(kind, number, folder / "killed", folder / "whole")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        unfinished = folder / "killed" / "checkpoints" / ".unfinished"
        ends.append({"signal": os.WTERMSIG(status), "unfinished": unfinished.exists()})
    train(CONFIG, folder / "killed")
    (folder / "deaths.json").write_text(json.dumps(ends), encoding="utf-8")


if __name__ == "__main__":
    main()
