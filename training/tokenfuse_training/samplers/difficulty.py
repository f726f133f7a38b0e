"""More of what is still difficult: shares by how little of a task's loss is gone.

Shapes: K tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tokenfuse_training.config.stage_settings import SamplerSettings
from tokenfuse_training.errors import CheckpointError
from tokenfuse_training.samplers.averages import Averages
from tokenfuse_training.samplers.checks import check_values, read_count, read_numbers, read_state
from tokenfuse_training.samplers.softmax import softmax

__all__ = ["Difficulty"]

_KIND = "difficulty"


class Difficulty:
    """A sampler (see `sampler.py`) by difficulty [D].

    L_k: moving average of the task's loss (rho). L0_k: L_k at the warm-up's end. L*_k: the
    reference loss, 0 where none is given.

        d_k = clip((L_k - L*_k) / (L0_k - L*_k), 0, 1)
        q_k ∝ π_k·exp(d_k/tau)
        p  ← ½·p + ½·((1-gamma)·q + gamma·π)      every U steps after the warm-up

    π is the control, 1/K, and what p is until the warm-up has ended and U steps more: at its end
    every d_k is 1. Where L0_k ≤ L*_k, the task was as good as its reference already: d_k = 0. A
    task without a loss by then takes its first average as L0_k, and has d_k = 1 before. p_k never
    falls below gamma/K, nor below ½ of that of a step before.

    Args:
        settings: rho, tau, gamma, U and the warm-up.
        reference_losses: L*, one for each task.
    """

    needs_drops = False

    def __init__(self, settings: SamplerSettings, reference_losses: Sequence[float]) -> None:
        num_tasks = len(reference_losses)
        self._settings = settings
        self._reference = [float(loss) for loss in reference_losses]
        self._control_K = np.full(num_tasks, 1.0 / num_tasks)
        self._shares_K = self._control_K.copy()
        self._losses = Averages(num_tasks, settings.loss_decay)
        self._first: list[float | None] = [None] * num_tasks
        self._seen = 0

    def shares(self) -> np.ndarray:
        return self._shares_K.copy()

    def observe(self, step: int, losses: Mapping[int, float], drops: Mapping[int, float]) -> None:
        check_values("loss", step, losses, len(self._first))
        self._seen += 1
        for task, loss in losses.items():
            self._losses.add(task, loss)
        past = self._seen - self._settings.warmup_steps
        if past >= 0:
            for task, first in enumerate(self._first):
                if first is None:
                    self._first[task] = self._losses[task]
        if past > 0 and past % self._settings.update_steps == 0:
            self._change()

    def difficulties(self) -> np.ndarray:
        """d, float64 (K,)."""
        return np.array([self._difficulty(task) for task in range(len(self._first))])

    def facts(self) -> dict[str, list[float]]:
        found = {
            "probability": self._shares_K.tolist(),
            "difficulty": self.difficulties().tolist(),
        }
        losses = [self._losses[task] for task in range(len(self._first))]
        known = [loss for loss in losses if loss is not None]
        if len(known) == len(losses):
            found["loss"] = known
        return found

    def state_dict(self) -> dict[str, Any]:
        return {
            "kind": _KIND,
            "seen": self._seen,
            "shares": self._shares_K.tolist(),
            "losses": self._losses.state_dict(),
            "first": list(self._first),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        read_state(state, kind=_KIND, names=("seen", "shares", "losses", "first"))
        num_tasks = len(self._first)
        first = state["first"]
        if not isinstance(first, list) or len(first) != num_tasks:
            raise CheckpointError(
                f"the checkpoint's sampler has first={first!r}; the stage has {num_tasks} tasks"
            )
        known = iter(read_numbers({"first": [x for x in first if x is not None]}, "first"))
        # All are read before one is set.
        seen = read_count(state, "seen")
        shares_K = np.array(read_numbers(state, "shares", num_tasks))
        self._losses.load_state_dict(state["losses"])
        self._seen, self._shares_K = seen, shares_K
        self._first = [None if loss is None else next(known) for loss in first]

    def _difficulty(self, task: int) -> float:
        loss, first, reference = self._losses[task], self._first[task], self._reference[task]
        if loss is None or first is None:
            return 1.0
        if first <= reference:
            return 0.0
        return min(max((loss - reference) / (first - reference), 0.0), 1.0)

    def _change(self) -> None:
        settings = self._settings
        # π is uniform, so it falls out of q.
        wanted_K = softmax(self.difficulties() / settings.temperature)
        mixed_K = (1.0 - settings.floor) * wanted_K + settings.floor * self._control_K
        self._shares_K = 0.5 * self._shares_K + 0.5 * mixed_K
