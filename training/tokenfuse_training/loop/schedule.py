"""The learning rate of a step of a stage, and the token budget that it is trained at."""

from __future__ import annotations

import math

from tokenfuse_sdk.config import FusionConfig
from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.config.stage_settings import StageSettings
from tokenfuse_training.data.order import generator

__all__ = ["budget_at", "check_budgets", "learning_rate_at"]


def learning_rate_at(stage: StageSettings, step: int) -> float:
    """The rate of a stage's step (from 0).

    [D] Step s of the warm-up has `(s + 1) / warmup_steps` of the highest rate. Behind it,
    `cosine` falls as `(1 + cos(pi t)) / 2` with t = 0 at the first step behind the warm-up and
    t = 1 one step behind the last; `linear_tail` falls as what is left of the last `tail_share`.
    Both end at `final_rate_share` of the highest rate.
    """
    warmup = stage.warmup_steps
    rising = min(1.0, (step + 1) / max(warmup, 1))
    share = 1.0
    if stage.schedule == "cosine" and step >= warmup:
        passed = (step - warmup) / max(stage.steps - warmup, 1)
        share = (1.0 + math.cos(math.pi * passed)) / 2.0
    elif stage.schedule == "linear_tail":
        share = min(1.0, (stage.steps - step) / max(stage.tail_share * stage.steps, 1.0))
    final = stage.final_rate_share
    return stage.learning_rate * min(rising, final + (1.0 - final) * share)


def check_budgets(stage: StageSettings, fusion: FusionConfig) -> None:
    """Raise ConfigError where `budget_weights` are not those of the model's budgets."""
    weights, budgets = stage.budget_weights, fusion.token_budgets
    if weights and (len(weights) != len(budgets) or not sum(weights) > 0):
        raise ConfigError(
            f"stage {stage.name!r}: budget_weights={list(weights)}: need one weight for each of "
            f"the model's token budgets {list(budgets)}, and one above 0"
        )


def budget_at(stage: StageSettings, fusion: FusionConfig, *, seed: int, step: int) -> int:
    """[D] The token budget of a step of the run, drawn by `budget_weights`: one for all ranks."""
    budgets = fusion.token_budgets
    weights = stage.budget_weights or (1.0,) * len(budgets)
    drawn = generator(seed, "budget", step).random() * sum(weights)
    for budget, weight in zip(budgets, weights, strict=True):
        drawn -= weight
        if drawn < 0 and weight:
            return budget
    return next(b for b, w in zip(reversed(budgets), reversed(weights), strict=True) if w)
