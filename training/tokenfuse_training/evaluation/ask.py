"""Ask any model all questions of any data set: pictures once, questions in batches."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from tokenfuse_training.data.record import Question
from tokenfuse_training.tasks.prefixes import PREFIXES as SIGNS

__all__ = ["PREFIXES", "Answerer", "AskedPicture", "AskedQuestion", "ask"]

# By the task of an `evaluate` entry: what stands before a text. Descriptions hold their own sign.
PREFIXES = {task: f"{SIGNS[task]} " for task in ("vqa", "gqa", "entail")} | {
    "scenes": f"{SIGNS['vqa']} ",
    "describe": "",
}
# Pictures at a time: enough for a GPU's batches, and little memory.
_PICTURES = 32


class Answerer(Protocol):
    """A model of any kind."""

    def answers(
        self,
        images_u8: Sequence[np.ndarray],
        image_index: Sequence[int],
        prefix: str,
        texts: Sequence[str],
        token_budgets: Sequence[int],
    ) -> dict[int, list[str | None]]:
        """Greedy answers at each budget.

        Args:
            images_u8: (H, W, 3) each, of any size.
            image_index: which picture each text is of.
            prefix: of the task.
            texts: questions.
            token_budgets: each is asked the same questions.

        Returns:
            Budget to answers; None where the model does not take the question.
        """
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AskedPicture:
    """A decoded picture (uint8, (H, W, 3)) and the questions that are asked about it."""

    key: str
    image_u8: np.ndarray
    questions: tuple[Question, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AskedQuestion:
    """A question, the number of its picture, and what was answered at each budget."""

    picture: int
    question: Question
    answers: Mapping[int, str | None]


def ask(
    answerer: Answerer,
    pictures: Iterable[AskedPicture],
    *,
    prefix: str,
    token_budgets: Sequence[int],
    report: Callable[[int], None] = lambda done: None,
) -> Iterator[AskedQuestion]:
    """Answers to all questions, in their order.

    Args:
        answerer: the model.
        pictures: read as they are needed.
        prefix: one of `PREFIXES`.
        token_budgets: each is asked the same questions.
        report: called with the number of questions done.
    """
    numbered = enumerate(pictures)
    done = 0
    while chunk := list(itertools.islice(numbered, _PICTURES)):
        asked = [
            (place, number, question)
            for place, (number, picture) in enumerate(chunk)
            for question in picture.questions
        ]
        answers = answerer.answers(
            [picture.image_u8 for _, picture in chunk],
            [place for place, _, _ in asked],
            prefix,
            [question.text for _, _, question in asked],
            token_budgets,
        )
        for row, (_, number, question) in enumerate(asked):
            own = {budget: texts[row] for budget, texts in answers.items()}
            yield AskedQuestion(picture=number, question=question, answers=own)
        done += len(asked)
        report(done)
