"""What a run left out of its stages, by its log: it is said at the end, and in the card."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Iterable
from typing import Any

from tokenfuse_training.config.train_config import TrainConfig

__all__ = ["LeftOut", "left_out"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Of one stage; a record that comes again in a later epoch counts again.

    Args:
        stage: its name.
        seen: pictures that its steps took.
        bad: task to how many of them could not be used; only tasks with any.
        unused: texts and answers that were left out of pictures that are used.
        said: what the first ones said; it may hold paths of this machine.
    """

    stage: str
    seen: int
    bad: dict[str, int]
    unused: int
    said: str

    def __str__(self) -> str:
        """Without what was said."""
        tasks = ", ".join(f"{task} {number:,}" for task, number in self.bad.items())
        text = f"stage {self.stage}: {sum(self.bad.values()):,} of {self.seen:,} pictures"
        text += f" ({tasks})" if tasks else ""
        return text + (f", and {self.unused:,} texts or answers of others" if self.unused else "")


def left_out(log: pathlib.Path, config: TrainConfig) -> list[LeftOut]:
    """Each stage that left something out.

    Args:
        log: `log.jsonl` of the run.
        config: of the run.
    """
    if not log.exists():
        # Taken away by hand: no reason to lose a model that is trained.
        return []
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    found = []
    for stage in config.stages:
        own = [line for line in lines if line["stage"] == stage.name]
        bad = {task: _sum(own, f"bad/{task}") for task in stage.tasks}
        unused = sum(_sum(own, f"unused/{task}") for task in stage.tasks)
        if any(bad.values()) or unused:
            found.append(
                LeftOut(
                    stage=stage.name,
                    seen=stage.steps * stage.batch_size,
                    bad={task: number for task, number in bad.items() if number},
                    unused=unused,
                    said=_shown(next((r for line in own if (r := line.get("bad_records"))), "")),
                )
            )
    return found


def _shown(text: str) -> str:
    """Names and words of a data set must not move a terminal's cursor."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _sum(lines: Iterable[dict[str, Any]], key: str) -> int:
    return sum(int(line.get(key, 0)) for line in lines)
