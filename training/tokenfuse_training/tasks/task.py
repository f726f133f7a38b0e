"""What a task is: from a record and a seeded generator to prompts and targets.

[D] One model, several tasks: the task is a prefix of the text, the output always text.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from tokenfuse_training.data.record import Answer, Record

__all__ = ["Task", "Text"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A prompt, prefix included, and its right answers.

    Args:
        prompt: text, or ids without the end id where the task works on ids.
        targets: what may be written, as text or ids; weights that sum to 1.
        kind: for the log's accuracies.
        term: names the loss it counts for, where a task has several.
    """

    prompt: str | tuple[int, ...]
    targets: tuple[Answer | tuple[int, ...], ...]
    kind: str = ""
    term: str = ""


class Task(Protocol):
    """Made once per stage by `tasks.make.make_task`; pickles to workers."""

    @property
    def needs_other_caption(self) -> bool:
        """Whether `texts` reads `record.other_caption`, so that somebody must put one there."""
        ...

    @property
    def terms(self) -> dict[str, float]:
        """Names of its loss terms (`""` where it has one) and their weights."""
        ...

    def texts(self, record: Record, draw: np.random.Generator, count: int) -> list[Text]:
        """At most `count` texts of a record.

        Raises:
            BadRecordError: the record has nothing that the task needs. The message says what;
                which record it is, the caller adds.
        """
        ...
