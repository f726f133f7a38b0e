"""The loss terms of a stage: which task each counts for, and how much."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tokenfuse_training.config.stage_settings import StageSettings
from tokenfuse_training.data.collate import term_names
from tokenfuse_training.data.plan import StepPlan
from tokenfuse_training.objective import EXTRA_TERMS
from tokenfuse_training.tasks.task import Task

__all__ = ["Terms"]


class Terms:
    """In the order of a batch's `terms`, and those of the heads behind them.

    Args:
        stage: its heads' weights and batch size.
        tasks: name to task, in the stage's order.
    """

    def __init__(self, stage: StageSettings, tasks: Mapping[str, Task]) -> None:
        self._stage, self._tasks = stage, tuple(tasks)
        self.names = term_names(tasks) + EXTRA_TERMS
        self._task_of = [i for i, task in enumerate(tasks.values()) for _ in task.terms]
        self._own = [weight for task in tasks.values() for weight in task.terms.values()]

    @property
    def reads_texts(self) -> bool:
        """Whether anything but the labels of patches is learned."""
        return any(own > 0 for own in self._own) or self._stage.word_order_weight > 0

    def weights(self, plan: StepPlan) -> Tensor:
        """lambda_t of a step, float64 (J,): the task's share of the pictures times its own."""
        shares = [plan.counts[task] / self._stage.batch_size for task in self._task_of]
        weights = [share * own for share, own in zip(shares, self._own, strict=True)]
        weights += [self._stage.patch_weight, self._stage.word_order_weight]
        return torch.tensor(weights, dtype=torch.float64)

    def task_losses(self, sum_J: Tensor, divisor_J: Tensor) -> dict[str, float]:
        """Mean loss of each task over its terms by their own weights.

        A task whose records were all bad has none.
        """
        losses: dict[str, float] = {}
        for index, name in enumerate(self._tasks):
            held = [
                (own, float(sum_J[j] / divisor_J[j]))
                for j, (task, own) in enumerate(zip(self._task_of, self._own, strict=True))
                if task == index and own > 0 and divisor_J[j] > 0
            ]
            if held:
                total = sum(own for own, _ in held)
                losses[name] = sum(own * loss for own, loss in held) / total
        return losses
