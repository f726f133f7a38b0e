"""What is logged of the steps since the last line: means, and counts over all ranks.

It is part of a checkpoint, so that a run that goes on in the middle of a line writes the line
that it would have written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.distributed as dist

__all__ = ["Window"]


class Window:
    """Means of values that all ranks agree on, and counts that each rank has for itself."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}
        self._counts: dict[str, int] = {}
        self._here: dict[str, int] = {}

    def add(self, values: Mapping[str, float]) -> None:
        """Values of one step, the same on every rank."""
        for name, value in values.items():
            entry = self._sums.setdefault(name, [0.0, 0])
            entry[0] += value
            entry[1] += 1

    def count(self, counts: Mapping[str, int]) -> None:
        """Counts of one step on this rank: `bad/<task>`, `right/<kind>` and `seen/<kind>`."""
        for name, number in counts.items():
            self._here[name] = self._here.get(name, 0) + int(number)

    def _gather(self) -> None:
        """Every rank gets the counts of all; every rank calls it."""
        everyone: list[Any] = [self._here]
        if dist.is_initialized():
            everyone = [None] * dist.get_world_size()
            dist.all_gather_object(everyone, self._here)
        for counts in everyone:
            for name, number in counts.items():
                self._counts[name] = self._counts.get(name, 0) + number
        self._here = {}

    def values(self) -> dict[str, float]:
        """The line, and an empty window; every rank calls it."""
        self._gather()
        line = {name: total / number for name, (total, number) in self._sums.items()}
        for name, number in sorted(self._counts.items()):
            group, _, kind = name.partition("/")
            seen = self._counts.get(f"seen/{kind}", 0)
            if group == "right" and seen:
                line[name] = number / seen
            elif group == "bad":
                line[name] = number
        self._sums, self._counts = {}, {}
        return line

    def state_dict(self) -> dict[str, Any]:
        """JSON; every rank calls it."""
        self._gather()
        return {"sums": self._sums, "counts": self._counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`, on any number of ranks."""
        self._sums = {name: list(entry) for name, entry in state["sums"].items()}
        self._counts = dict(state["counts"])
        self._here = {}
