"""How much of held-out texts a model tells right, by task: what samplers are compared by.

A text is right when every token is, under teacher forcing: then greedy decoding writes the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from tokenfuse_training.config.stage_settings import SamplerSettings, StageSettings
from tokenfuse_training.config.train_config import TrainConfig
from tokenfuse_training.data.source import Source
from tokenfuse_training.loop.ranks import join_ranks
from tokenfuse_training.loop.stage_run import open_stage
from tokenfuse_training.objective import EXTRA_TERMS, Objective, term_divisors
from tokenfuse_training.start import Beginning

__all__ = ["held_out_stage", "task_accuracies"]

# Of the held-out texts: the same for every run and seed.
_SEED = 1


def held_out_stage(stage: StageSettings, data: str, steps: int) -> StageSettings:
    """The tasks of a stage on other data, all alike.

    Args:
        stage: what is trained.
        data: name of the held-out data set.
        steps: batches that are asked.
    """
    tasks = {name: dataclasses.replace(task, data=data) for name, task in stage.tasks.items()}
    return dataclasses.replace(stage, tasks=tasks, sampler=SamplerSettings(), steps=steps)


@torch.no_grad()
def task_accuracies(
    config: TrainConfig,
    stage: StageSettings,
    beginning: Beginning,
    sources: Mapping[str, Source],
    weights: Mapping[str, Tensor],
) -> dict[str, float]:
    """Task to share of its texts that are told right.

    Args:
        config: of the run.
        stage: `held_out_stage` of it.
        beginning: of the run; its model is filled with the weights.
        sources: of the stage.
        weights: by the model's names.
    """
    objective = Objective(beginning.model, beginning.preprocess).eval()
    objective.model.load_state_dict(dict(weights))
    asked = dataclasses.replace(config, seed=_SEED)
    right: dict[str, int] = dict.fromkeys(stage.tasks, 0)
    seen: dict[str, int] = dict.fromkeys(stage.tasks, 0)
    with (
        join_ranks(config.run) as ranks,
        open_stage(
            asked,
            stage,
            0,
            sources=sources,
            beginning=beginning,
            ranks=ranks,
            planner_state=None,
        ) as stage_run,
    ):
        for plan, batch in stage_run.feed:
            divisors = term_divisors(batch, stage)
            weights_J = stage_run.terms.weights(plan)
            budget = beginning.model_config.fusion.num_latents
            losses = objective(batch, budget, weights_J, divisors, stage)
            kinds = batch.kinds + EXTRA_TERMS
            for kind, ok, all_ in zip(
                kinds, losses.right_K.tolist(), losses.seen_K.tolist(), strict=True
            ):
                task = kind.split("/")[0]
                if task in seen:
                    right[task] += ok
                    seen[task] += all_
            stage_run.planner.observe(plan.step, {}, {})
    return {task: right[task] / max(seen[task], 1) for task in seen}
