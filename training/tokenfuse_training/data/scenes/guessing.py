"""Baselines that learn nothing: what the statistics of the answers alone can guess."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from typing import Protocol


class Asked(Protocol):
    """A question with its answer: `Question` and `QuestionRow` alike."""

    @property
    def family(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def answer(self) -> str: ...


def question_only_majority(train: Sequence[Asked]) -> Callable[[Asked], str]:
    """Guess the most frequent training answer of the same text.

    Of the family for a new text, and of all for a new family.
    """
    by_text = _most_frequent((q.text, q.answer) for q in train)
    by_family = _most_frequent((q.family, q.answer) for q in train)
    of_all = image_only_majority(train)
    return lambda q: by_text.get(q.text) or by_family.get(q.family) or of_all(q)


def image_only_majority(train: Sequence[Asked]) -> Callable[[Asked], str]:
    """Guess the most frequent training answer of all, whatever is asked."""
    answer = _most_frequent(("", q.answer) for q in train)[""]
    return lambda q: answer


def _most_frequent(pairs) -> dict[str, str]:
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for key, answer in pairs:
        counts[key][answer] += 1
    # Ties go to the answer that sorts first, so that the result does not depend on order.
    return {key: min(c, key=lambda answer: (-c[answer], answer)) for key, c in counts.items()}
