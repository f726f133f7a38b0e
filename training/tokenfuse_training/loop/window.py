"""What is logged of the steps since the last line: means, and counts over all ranks.

It is part of a checkpoint, so that a run that goes on in the middle of a line writes the line
that it would have written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch.distributed as dist

__all__ = ["Window"]

# Of a line's bad records: enough to see what is wrong.
_MAX_MESSAGES = 3


class Window:
    """Means of values that all ranks agree on, and counts that each rank has for itself."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}
        self._counts: dict[str, int] = {}
        self._said: list[str] = []
        # Of this rank, since they were last put together.
        self._counts_here: dict[str, int] = {}
        self._said_here: list[str] = []

    def add(self, values: Mapping[str, float]) -> None:
        """Values of one step, the same on every rank."""
        for name, value in values.items():
            entry = self._sums.setdefault(name, [0.0, 0])
            entry[0] += value
            entry[1] += 1

    def count(self, counts: Mapping[str, int], messages: Sequence[str] = ()) -> None:
        """Counts of one step on this rank, and what its bad records said.

        Args:
            counts: `bad/<task>`, `unused/<task>`, `right/<kind>` and `seen/<kind>`.
            messages: the first of a line are shown with it.
        """
        for name, number in counts.items():
            self._counts_here[name] = self._counts_here.get(name, 0) + int(number)
        self._said_here = [*self._said_here, *messages][:_MAX_MESSAGES]

    def _gather(self) -> None:
        """Put the counts of all ranks together; every rank calls it."""
        mine = (self._counts_here, self._said_here)
        everyone: list[Any] = [mine]
        if dist.is_initialized():
            everyone = [None] * dist.get_world_size()
            dist.all_gather_object(everyone, mine)
        for counts, said in everyone:
            for name, number in counts.items():
                self._counts[name] = self._counts.get(name, 0) + number
            self._said = [*self._said, *said][:_MAX_MESSAGES]
        self._counts_here, self._said_here = {}, []

    def values(self) -> dict[str, Any]:
        """The line, and an empty window; every rank calls it."""
        self._gather()
        line: dict[str, Any] = {k: total / number for k, (total, number) in self._sums.items()}
        for name, number in sorted(self._counts.items()):
            group, _, kind = name.partition("/")
            seen = self._counts.get(f"seen/{kind}", 0)
            if group == "right" and seen:
                line[name] = number / seen
            elif group in ("bad", "unused"):
                line[name] = number
        if self._said:
            # Sorted: which rank said it shows no more.
            line["bad_records"] = "; ".join(sorted(self._said))
        self._sums, self._counts, self._said = {}, {}, []
        return line

    def state_dict(self) -> dict[str, Any]:
        """JSON; every rank calls it."""
        self._gather()
        return {"sums": self._sums, "counts": self._counts, "said": self._said}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`, on any number of ranks."""
        self._sums = {name: list(entry) for name, entry in state["sums"].items()}
        self._counts = dict(state["counts"])
        self._said = list(state["said"])
        self._counts_here, self._said_here = {}, []
