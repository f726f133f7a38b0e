"""Questions with one right answer: GQA."""

from __future__ import annotations

import dataclasses

import numpy as np

from tokenfuse_training.data.record import Answer, Record
from tokenfuse_training.tasks.one_term import OneTerm
from tokenfuse_training.tasks.prefixes import prompt
from tokenfuse_training.tasks.questions import draw_questions, one_answer
from tokenfuse_training.tasks.task import Text

__all__ = ["Gqa"]


@dataclasses.dataclass(frozen=True, slots=True)
class Gqa(OneTerm):
    """`answer: <question>` → the answer [D]."""

    def texts(self, record: Record, draw: np.random.Generator, count: int) -> list[Text]:
        """At most `count` of the record's questions.

        Raises:
            BadRecordError: no question, one without text, or without exactly one answer.
        """
        return [
            Text(
                prompt=prompt("gqa", question.text),
                targets=(Answer(text=one_answer(question)),),
                kind=question.kind,
            )
            for question in draw_questions(record.questions, "question", draw, count)
        ]
