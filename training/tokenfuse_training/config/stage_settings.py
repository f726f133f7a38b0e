"""What a stage is: its tasks, the sampler between them, and the course of its steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tokenfuse_training.config.settings_checks import (
    FieldError,
    need,
    need_counts,
    need_names,
    need_within,
)
from tokenfuse_training.samplers.sampler import SAMPLERS
from tokenfuse_training.tasks.prefixes import TASKS

__all__ = ["SamplerSettings", "StageSettings", "TaskSettings"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TaskSettings:
    """One task of a stage.

    Args:
        task: one of `TASKS`.
        data: name of the data set.
        texts: at most so many texts of one picture in a step.
        reference_loss: the loss that a well-trained model has; for the sampler `difficulty`.
        size: pictures of the data set, for the sampler `proportional`; 0 asks the data set, which
            a stream cannot answer.
        options: of the task itself (`scenes` and `fill` have some).
    """

    task: str
    data: str
    texts: int = 1
    reference_loss: float = 0.0
    size: int = 0
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        need(self.task in TASKS, "task", "task", self.task, f"one of {', '.join(TASKS)}")
        need_counts(self, "task", "texts")
        need_counts(self, "task", "size", low=0)
        need_within(self, "task", "reference_loss", 0.0, 1e6)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SamplerSettings:
    """How a step's pictures are shared out among the tasks; see docs/training.md.

    Args:
        kind: one of `SAMPLERS`.
        warmup_steps: stratified until then (all but the controls); the losses at its end are the
            scale of difficulty.
        update_steps: U, steps between two changes of the shares (difficulty).
        loss_decay: rho, of the moving average of losses (difficulty).
        temperature: tau (difficulty).
        floor: gamma, the part of the control that is always mixed in (difficulty).
        smoothing: alpha of the reward's moving average (odm).
        power: of a task's size (proportional).
        exploration: gamma of Exp3.S (learning_progress).
        step_size: eta of Exp3.S (learning_progress).
        ahead: a step's shares are fixed so many steps before it, so that data can be prepared.
    """

    kind: str = "stratified"
    warmup_steps: int = 200
    update_steps: int = 200
    loss_decay: float = 0.98
    temperature: float = 0.5
    floor: float = 0.2
    smoothing: float = 0.9
    power: float = 0.5
    exploration: float = 0.1
    step_size: float = 0.1
    ahead: int = 8

    def __post_init__(self) -> None:
        own = "sampler"
        need(self.kind in SAMPLERS, own, "kind", self.kind, f"one of {', '.join(SAMPLERS)}")
        need_counts(self, own, "update_steps", "ahead")
        need_counts(self, own, "warmup_steps", low=0)
        for name in ("loss_decay", "smoothing", "floor", "power", "exploration"):
            need_within(self, own, name, 0.0, 1.0)
        need_within(self, own, "temperature", 1e-3, 1e3)
        need_within(self, own, "step_size", 1e-6, 1e3)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StageSettings:
    """Steps with one mixture of tasks and one course of the learning rate.

    Args:
        steps: updates.
        batch_size: pictures of one update, over all ranks and micro-batches.
        tasks: name to task.
        sampler: how pictures are shared out among the tasks.
        learning_rate: the highest; it rises over `warmup_steps`.
        schedule: `cosine` falls from the warm-up's end to the stage's, `constant` stays,
            `linear_tail` stays and falls linearly over the last `tail_share` of the stage.
        final_rate_share: of the learning rate, at the end of `cosine` and `linear_tail`.
        weight_decay, betas: of AdamW.
        max_grad_norm: longer gradients are scaled down to it; 0 for no limit.
        ema_decay: of the moving average of weights, which is what is published.
        accumulate: micro-batches of one update; changes nothing but memory and rounding.
        budget_weights: how likely each token budget of the model is in a step; empty for
            all alike.
        fresh_optimizer: begin with new moments; False goes on with those of the stage before.
        freeze: parts that stand still: `image` (what a picture passes before a question is known)
            and `text` (embedding and text encoder).
        patch_weight: weight of the per-patch labels, which only scenes have.
        word_order_weight: weight of telling each word's predecessors.
    """

    name: str
    steps: int
    batch_size: int
    tasks: Mapping[str, TaskSettings]
    sampler: SamplerSettings = dataclasses.field(default_factory=SamplerSettings)
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    schedule: str = "cosine"
    tail_share: float = 0.1
    final_rate_share: float = 0.0
    weight_decay: float = 0.05
    betas: tuple[float, ...] = (0.9, 0.98)
    max_grad_norm: float = 1.0
    ema_decay: float = 0.995
    accumulate: int = 1
    budget_weights: tuple[float, ...] = ()
    fresh_optimizer: bool = True
    freeze: tuple[str, ...] = ()
    patch_weight: float = 0.0
    word_order_weight: float = 0.0

    def __post_init__(self) -> None:
        own = f"stage {self.name!r}"
        need_names("stages", {self.name: None})
        need_names(own, self.tasks, "tasks.name")
        need_counts(self, own, "steps", "batch_size", "accumulate")
        need_counts(self, own, "warmup_steps", low=0)
        need(bool(self.tasks), own, "tasks", dict(self.tasks), "at least one task")
        schedules = ("cosine", "constant", "linear_tail")
        need(self.schedule in schedules, own, "schedule", self.schedule, ", ".join(schedules))
        for name, high in (("learning_rate", 10.0), ("weight_decay", 10.0), ("max_grad_norm", 1e6)):
            need_within(self, own, name, 0.0, high)
        for name in ("tail_share", "final_rate_share", "ema_decay"):
            need_within(self, own, name, 0.0, 1.0)
        for name in ("patch_weight", "word_order_weight"):
            need_within(self, own, name, 0.0, 1e3)
        ok = len(self.betas) == 2 and all(0.0 <= beta < 1.0 for beta in self.betas)
        need(ok, own, "betas", self.betas, "two numbers from 0 to below 1")
        ok = all(weight >= 0 for weight in self.budget_weights)
        need(ok, own, "budget_weights", self.budget_weights, "numbers of at least 0")
        for part in self.freeze:
            need(part in ("image", "text"), own, "freeze", part, "image, text")
        if self.patch_weight and "image" in self.freeze:
            raise FieldError(
                own,
                f"patch_weight={self.patch_weight} trains the image encoder, which freeze=image "
                "stops; set one of them only",
            )
