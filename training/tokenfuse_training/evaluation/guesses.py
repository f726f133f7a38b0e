"""Accuracy without looking or reading: what the statistics of the training answers alone guess."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from tokenfuse_training.data.record import Question
from tokenfuse_training.data.scenes.guessing import image_only_majority, question_only_majority
from tokenfuse_training.data.source import Source, is_indexed
from tokenfuse_training.errors import BadRecordError
from tokenfuse_training.evaluation.evaluate import is_labelled, points
from tokenfuse_training.tasks.entail import entail_word

__all__ = ["guessed"]

# Enough for a frequency; reading them all would take minutes of a large data set.
_PICTURES = 4_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    family: str
    text: str
    answer: str
    question: Question


def _asked(source: Source, task: str) -> Iterator[_Asked]:
    if not is_indexed(source):
        # A stream asks nothing.
        return
    for index in range(min(_PICTURES, len(source))):
        try:
            record = source.record(index)
        except BadRecordError:
            continue
        for question in record.statements if task == "entail" else record.questions:
            if question.answers:
                best = max(question.answers, key=lambda answer: answer.weight)
                yield _Asked(
                    family=question.kind,
                    text=question.text.strip().lower(),
                    answer=entail_word(best.text) or best.text,
                    question=question,
                )


def guessed(task: str, train: Source, test: Source) -> list[tuple[str, float]]:
    """Name and accuracy of two guessers, on the first 4,000 pictures of each data set.

    Args:
        task: of `evaluate`.
        train: where answers are counted.
        test: what is asked; another one, or the guesses are known answers.
    """
    learned = list(_asked(train, task))
    asked = [one for one in _asked(test, task) if is_labelled(task, one.question)]
    if not learned or not asked:
        return []

    def accuracy(guess: Callable[[_Asked], str]) -> float:
        return _mean([points(task, guess(one), one.question) for one in asked])

    return [
        (
            "question only: the most frequent answer to the same text",
            accuracy(question_only_majority(learned)),
        ),
        ("image only: the most frequent answer of all", accuracy(image_only_majority(learned))),
    ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
