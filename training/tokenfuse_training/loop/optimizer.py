"""AdamW on the objective's parameters, at rates of their own."""

from __future__ import annotations

import torch
from torch import nn

from tokenfuse_training.config.stage_settings import StageSettings
from tokenfuse_training.loop.spread import alike

__all__ = ["RELATIVE_BIAS_RATE", "make_optimizer", "set_rate", "set_stage"]

# Relative biases are logits, and all that tells the order of words: to matter they must grow to
# several units, while Adam moves a weight by no more than the learning rate a step. At the rate
# of the rest they stayed below 0.2, and "is the 7 left of the star?" was answered by chance.
RELATIVE_BIAS_RATE = 30.0


def make_optimizer(objective: nn.Module, stage: StageSettings) -> torch.optim.AdamW:
    """A fresh one, behind `spread`.

    [D] Vectors and scalars (norms, biases, gates), latents, positions and class tokens do not
    decay.
    """
    decayed, free, biases = [], [], []
    for name, parameter in objective.named_parameters():
        if "relative_bias" in name:
            biases.append(parameter)
        elif parameter.ndim < 2 or any(word in name for word in ("latents", "position", "_token")):
            free.append(parameter)
        else:
            decayed.append(parameter)
    groups = [
        {"params": some, "decays": decays, "rate_scale": scale}
        for parameters, decays, scale in (
            (decayed, True, 1.0),
            (free, False, 1.0),
            (biases, False, RELATIVE_BIAS_RATE),
        )
        for some in alike(parameters)
    ]
    optimizer = torch.optim.AdamW(groups, fused=True)
    set_stage(optimizer, stage)
    return optimizer


def set_stage(optimizer: torch.optim.Optimizer, stage: StageSettings) -> None:
    """Decay and betas of a stage; the moments stay."""
    first, second = stage.betas
    for group in optimizer.param_groups:
        group["weight_decay"] = stage.weight_decay if group["decays"] else 0.0
        group["betas"] = (first, second)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next update."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_scale"]
