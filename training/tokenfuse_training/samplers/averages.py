"""Moving averages that owe nothing to where they began."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenfuse_training.errors import CheckpointError
from tokenfuse_training.samplers.checks import read_numbers

__all__ = ["Averages"]


class Averages:
    """A moving average of each task's losses, known from the first one on.

    L ← L + a_n·(x - L), a_n = (1 - rho)/(1 - rho^n) at the n-th value: the mean with weights
    rho^age. [D]
    Begun at the first value instead, it would still owe 2% to it after 200 steps at rho = 0.98,
    and the first loss is a large one.

    Args:
        num_tasks: K.
        decay: rho; 1 is the plain mean.
    """

    def __init__(self, num_tasks: int, decay: float) -> None:
        self._decay = decay
        self._count = [0] * num_tasks
        self._mean = [0.0] * num_tasks

    def __getitem__(self, task: int) -> float | None:
        """None before the first value."""
        return self._mean[task] if self._count[task] else None

    def add(self, task: int, value: float) -> None:
        self._count[task] += 1
        count, decay = self._count[task], self._decay
        rate = 1.0 / count if decay == 1.0 else (1.0 - decay) / (1.0 - decay**count)
        self._mean[task] += rate * (value - self._mean[task])

    def state_dict(self) -> dict[str, Any]:
        return {"count": list(self._count), "mean": list(self._mean)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises CheckpointError where the state is damaged or of other tasks."""
        if not isinstance(state, Mapping) or not {"count", "mean"} <= set(state):
            raise CheckpointError(f"the checkpoint's sampler has averages={state!r}; it is damaged")
        count = read_numbers(state, "count", len(self._count))
        if any(value < 0 or value != int(value) for value in count):
            raise CheckpointError(f"the checkpoint's sampler has count={count!r}; it is damaged")
        self._mean = read_numbers(state, "mean", len(self._mean))
        self._count = [int(value) for value in count]
