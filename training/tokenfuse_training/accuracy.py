"""Accuracy as data: overall and per question family."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

__all__ = ["Accuracy"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Share of right answers at one budget; one entry per family."""

    token_budget: int
    overall: float
    by_family: dict[str, float]
    counts: dict[str, int]

    @classmethod
    def from_counts(
        cls, token_budget: int, right: Mapping[str, int], asked: Mapping[str, int]
    ) -> Accuracy:
        """From the numbers of right and of asked questions per family."""
        return cls(
            token_budget=token_budget,
            overall=sum(right.values()) / max(sum(asked.values()), 1),
            by_family={name: right.get(name, 0) / asked[name] for name in sorted(asked)},
            counts=dict(sorted(asked.items())),
        )

    @property
    def num_questions(self) -> int:
        return sum(self.counts.values())

    def to_dict(self) -> dict[str, object]:
        """Plain JSON types."""
        return dataclasses.asdict(self) | {"num_questions": self.num_questions}
