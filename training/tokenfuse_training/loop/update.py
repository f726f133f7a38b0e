"""One update: losses of all micro-batches and ranks, gradients, clipping, AdamW, the average.

Shapes: J loss terms, K kinds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import pathlib
from collections.abc import Sequence

import torch
from torch import Tensor

from tokenfuse_training.config.stage_settings import StageSettings
from tokenfuse_training.data.batch import Batch
from tokenfuse_training.data.plan import StepPlan
from tokenfuse_training.loop.ema import decay_at
from tokenfuse_training.loop.micro_batches import split_batch
from tokenfuse_training.loop.not_finite import stop_at
from tokenfuse_training.loop.optimizer import set_rate
from tokenfuse_training.loop.ranks import Ranks, sum_over_ranks
from tokenfuse_training.loop.spread import clip_gradients, no_sync
from tokenfuse_training.loop.state import TrainState
from tokenfuse_training.loop.terms import Terms
from tokenfuse_training.objective import EXTRA_TERMS, term_divisors

__all__ = ["Updated", "Updater"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """What an update tells.

    Args:
        loss: of the step, over all ranks.
        grad_norm: before clipping.
        task_losses: mean loss of each task; tasks without a usable record are left out.
        drops: by how much the update lowered them, where it was asked for.
        counts: of this rank: `right/<kind>`, `seen/<kind>`, `bad/<task>`.
    """

    loss: float
    grad_norm: float
    task_losses: dict[str, float]
    drops: dict[str, float]
    counts: dict[str, int]


class Updater:
    """Updates of one stage.

    Args:
        state: is changed.
        stage: its settings.
        terms: of its loss.
        ranks: who trains together.
        bf16: matrix products in bfloat16.
        directory: for a batch that ends the run.
    """

    def __init__(
        self,
        state: TrainState,
        stage: StageSettings,
        terms: Terms,
        *,
        ranks: Ranks,
        bf16: bool,
        directory: pathlib.Path,
    ) -> None:
        self._state, self._stage, self._terms = state, stage, terms
        self._ranks, self._bf16, self._directory = ranks, bf16, directory

    def update(
        self, plan: StepPlan, batch: Batch, *, budget: int, rate: float, drops: bool
    ) -> Updated:
        """Train on this rank's part of a step.

        Args:
            plan: of the step, which is counted from 0 over the run.
            batch: this rank's part.
            budget: latents in use.
            rate: the learning rate.
            drops: measure the losses again behind the update.

        Raises:
            NotFiniteError: the loss or a gradient is not finite; nothing was changed.
        """
        state, stage = self._state, self._stage
        parts = split_batch(batch, stage.accumulate)
        weights = self._terms.weights(plan)
        divisors = sum_over_ranks(sum(term_divisors(part, stage) for part in parts))
        counts = {f"bad/{task}": number for task, number in batch.num_bad.items()}
        counts |= {f"unused/{task}": number for task, number in batch.num_unused.items()}
        sums = self._sums(parts, budget, weights, divisors, counts=counts)
        used = divisors > 0
        loss = float((weights[used] * sums[used] / divisors[used]).sum())
        norm = clip_gradients(state.named.values(), stage.max_grad_norm)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            means = {
                name: str(float(sums[j] / divisors[j]))
                for j, name in enumerate(self._terms.names)
                if used[j]
            }
            stop_at(
                batch,
                self._directory,
                rank=self._ranks.rank,
                what=f"loss={loss}, norm of the gradients={norm}",
                facts={"step": plan.step, "stage": stage.name, "budget": budget, "losses": means},
                stage=stage,
                bf16=self._bf16,
            )
        set_rate(state.optimizer, rate)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.ema.update(decay_at(stage.ema_decay, plan.step + 1))
        losses = self._terms.task_losses(sums, divisors)
        fallen: dict[str, float] = {}
        if drops:
            with torch.no_grad():
                after = self._sums(parts, budget, weights, divisors)
            later = self._terms.task_losses(after, divisors)
            fallen = {name: losses[name] - later[name] for name in losses}
        return Updated(loss=loss, grad_norm=norm, task_losses=losses, drops=fallen, counts=counts)

    def _sums(
        self,
        parts: Sequence[Batch],
        budget: int,
        weights: Tensor,
        divisors: Tensor,
        *,
        counts: dict[str, int] | None = None,
    ) -> Tensor:
        """Loss sums of the step, float64 (J,), over micro-batches and ranks.

        With gradients where they are enabled. `counts` gets this rank's counts.
        """
        device, module = self._ranks.device, self._state.module
        sum_J = torch.zeros(len(divisors), dtype=torch.float64)
        for index, part in enumerate(parts):
            waits = index + 1 < len(parts) and torch.is_grad_enabled()
            with no_sync(module) if waits else contextlib.nullcontext():
                with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self._bf16):
                    losses = module(part, budget, weights, divisors, self._stage)
                # Without a gradient where all that has a loss stands still, or all was bad.
                if losses.total.requires_grad:
                    losses.total.backward()
            sum_J += losses.sum_J.double().cpu()
            if counts is not None:
                kinds = part.kinds + EXTRA_TERMS
                numbers = torch.stack([losses.right_K, losses.seen_K]).tolist()
                for group, row in zip(("right", "seen"), numbers, strict=True):
                    for kind, number in zip(kinds, row, strict=True):
                        if number or group == "right":
                            name = f"{group}/{kind}"
                            counts[name] = counts.get(name, 0) + number
        return sum_over_ranks(sum_J)
