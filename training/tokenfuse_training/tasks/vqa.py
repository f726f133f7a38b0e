"""Questions with several right answers: VQA v2.0."""

from __future__ import annotations

import dataclasses

import numpy as np

from tokenfuse_training.data.record import Record
from tokenfuse_training.tasks.one_term import OneTerm
from tokenfuse_training.tasks.prefixes import prompt
from tokenfuse_training.tasks.questions import draw_questions, soft_targets
from tokenfuse_training.tasks.task import Text

__all__ = ["Vqa"]


@dataclasses.dataclass(frozen=True, slots=True)
class Vqa(OneTerm):
    """`answer: <question>` → each right answer, weighted by how right it is [D].

    The loss of a question is Σ_a w_a·CE(a), w_a = score_a / Σ score: all right answers in every
    step, not one that is drawn, which has the same mean and more noise.
    """

    def texts(self, record: Record, draw: np.random.Generator, count: int) -> list[Text]:
        """At most `count` of the record's questions.

        Raises:
            BadRecordError: no question, one without text, or one without a right answer.
        """
        return [
            Text(
                prompt=prompt("vqa", question.text),
                targets=soft_targets(question),
                kind=question.kind,
            )
            for question in draw_questions(record.questions, "question", draw, count)
        ]
