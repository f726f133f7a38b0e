"""What a training run is, as frozen data: model, data, stages, optimiser."""

from __future__ import annotations

import dataclasses
import itertools

from tokenfuse_sdk.config import ModelConfig

__all__ = ["Recipe", "Stage"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A run of steps with one mixture of losses.

    Per step: `images` pictures, each with `questions` short questions and
    `descriptions` long texts (captions, completions, matches, entailments) and `stones`
    (stepping stones, which no test asks).
    `dense_weight` scales the per-patch colour and kind losses, `word_order_weight` the losses
    of telling each word's predecessors. `family_weights`
    makes a question family that much more likely to be drawn; the others have 1.
    With `frozen_image` the merged tokens of every picture are computed once, before the
    stage, and only what comes behind them learns. `budget_weights` replace the recipe's.
    """

    name: str
    steps: int
    images: int
    questions: int
    descriptions: int
    dense_weight: float
    description_weight: float = 1.0
    stones: int = 0
    family_weights: tuple[tuple[str, float], ...] = ()
    word_order_weight: float = 0.0
    frozen_image: bool = False
    budget_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.frozen_image and self.dense_weight:
            raise ValueError(
                f"stage {self.name!r}: dense_weight={self.dense_weight} trains the image encoder, "
                "which frozen_image stops; set one of them only"
            )

    @property
    def num_texts(self) -> int:
        """Texts of all kinds per picture."""
        return self.questions + self.descriptions + self.stones


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A training run on scenes, reproducible from its seed up to float summation order.

    The learning rate warms up linearly, stays, and falls linearly to zero over
    the last `decay_fraction` of all steps. At each step one token budget is
    drawn with `budget_weights`, one weight per budget of the model.
    """

    name: str
    model: ModelConfig
    seed: int
    num_scenes: int
    num_questions: int
    stages: tuple[Stage, ...]
    learning_rate: float
    warmup_steps: int
    decay_fraction: float
    weight_decay: float
    max_grad_norm: float
    budget_weights: tuple[float, ...]
    ema_decay: float

    @property
    def num_steps(self) -> int:
        """Steps over all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> Stage:
        """The stage that a step (from 0) belongs to."""
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        return self.stages[-1]

    def first_step_of(self, stage_name: str) -> int:
        """The step at which a stage begins.

        Raises:
            KeyError: the recipe has no stage of that name.
        """
        step = 0
        for stage in self.stages:
            if stage.name == stage_name:
                return step
            step += stage.steps
        raise KeyError(stage_name)

    def learning_rate_at(self, step: int, first_step: int = 0) -> float:
        """Warm up from `first_step` and wherever frozen parts join again, stay, fall to zero."""
        began = first_step
        stage_began = 0
        for before, stage in itertools.pairwise(self.stages):
            stage_began += before.steps
            if before.frozen_image and not stage.frozen_image and stage_began <= step:
                began = max(began, stage_began)
        rising = (step - began + 1) / max(self.warmup_steps, 1)
        falling = (self.num_steps - step) / max(self.decay_fraction * self.num_steps, 1)
        return self.learning_rate * min(1.0, rising, falling)
