"""Questions of a record with their right answers: what VQA, GQA and entailment share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tokenfuse_training.data.record import Answer, Question
from tokenfuse_training.errors import BadRecordError
from tokenfuse_training.tasks.captions import drawn

__all__ = ["draw_questions", "one_answer", "soft_targets"]


def draw_questions(
    questions: Sequence[Question], what: str, draw: np.random.Generator, count: int
) -> list[Question]:
    """At most `count` of a record's questions, each once.

    Raises:
        BadRecordError: there is none, or one that is drawn has no text.
    """
    if not questions:
        raise BadRecordError(f"there is no {what}")
    chosen = drawn(questions, count, draw)
    for question in chosen:
        if not question.text.strip():
            raise BadRecordError(f"{what} {question.id} is empty")
    return chosen


def soft_targets(question: Question) -> tuple[Answer, ...]:
    """The right answers with weights that sum to 1; what has no weight is left out.

    Raises:
        BadRecordError: there is none, or a weight is negative or no number.
    """
    for answer in question.answers:
        if not (math.isfinite(answer.weight) and answer.weight >= 0):
            raise BadRecordError(
                f"question {question.id}: the answer {answer.text!r} has weight "
                f"{answer.weight}; need a number of at least 0"
            )
    right = [answer for answer in question.answers if answer.weight > 0]
    if not right:
        raise BadRecordError(
            f"question {question.id} has no right answer; a data set without answers can be "
            "asked, not learned"
        )
    whole = math.fsum(answer.weight for answer in right)
    return tuple(Answer(text=answer.text, weight=answer.weight / whole) for answer in right)


def one_answer(question: Question) -> str:
    """The only answer.

    Raises:
        BadRecordError: there is none, or several.
    """
    if len(question.answers) != 1:
        said = ", ".join(repr(answer.text) for answer in question.answers[:3]) or "none"
        raise BadRecordError(
            f"question {question.id} has {len(question.answers)} answers ({said}); need one"
        )
    return question.answers[0].text
