"""Accuracy as data: overall and per question family, each with its 95% interval."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tokenfuse_training.evaluation.interval import score_intervals

__all__ = ["Accuracy", "ScoredQuestion"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ScoredQuestion:
    """One question.

    Args:
        picture: number of its picture; questions of one picture are not independent.
        family: question type.
        score: how right the answer was, 0 to 1.
    """

    picture: int
    family: str
    score: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Mean score at one budget.

    Args:
        token_budget: latents.
        overall: over all questions.
        low, high: the 95% interval of `overall` (see `evaluation/interval.py`).
        by_family: family to mean score.
        low_by_family, high_by_family: their intervals.
        counts: family to questions.
    """

    token_budget: int
    overall: float
    low: float
    high: float
    by_family: dict[str, float]
    low_by_family: dict[str, float]
    high_by_family: dict[str, float]
    counts: dict[str, int]

    @classmethod
    def from_questions(cls, token_budget: int, questions: Sequence[ScoredQuestion]) -> Accuracy:
        """From every question that was asked; of none, 0 with an interval of 0 to 1."""
        families = sorted({question.family for question in questions})
        number = {family: index for index, family in enumerate(families)}
        score_Q = np.array([question.score for question in questions], np.float64)
        family_Q = np.array([number[question.family] for question in questions], np.int64)
        picture_Q = np.array([question.picture for question in questions], np.int64)
        low_F, high_F = score_intervals(score_Q, picture_Q, family_Q, num_families=len(families))
        counts = np.bincount(family_Q, minlength=len(families)).tolist()
        sums = np.bincount(family_Q, score_Q, minlength=len(families)).tolist()
        means = [total / count for total, count in zip(sums, counts, strict=True)]
        return cls(
            token_budget=token_budget,
            overall=float(score_Q.sum() / max(len(questions), 1)),
            low=float(low_F[-1]),
            high=float(high_F[-1]),
            by_family=dict(zip(families, means, strict=True)),
            low_by_family=dict(zip(families, low_F[:-1].tolist(), strict=True)),
            high_by_family=dict(zip(families, high_F[:-1].tolist(), strict=True)),
            counts=dict(zip(families, counts, strict=True)),
        )

    @property
    def num_questions(self) -> int:
        return sum(self.counts.values())

    def to_dict(self) -> dict[str, object]:
        """Plain JSON types."""
        return dataclasses.asdict(self) | {"num_questions": self.num_questions}
