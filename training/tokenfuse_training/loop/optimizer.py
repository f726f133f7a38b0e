"""AdamW on the objective's parameters, with moments that are named as they are."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tokenfuse_training.train_config import StageSettings

__all__ = ["RELATIVE_BIAS_RATE", "make_optimizer", "moments", "restore_moments", "set_rate"]

# Relative biases are logits, and all that tells the order of words: to matter they must grow to
# several units, while Adam moves a weight by no more than the learning rate a step. At the rate
# of the rest they stayed below 0.2, and "is the 7 left of the star?" was answered by chance.
RELATIVE_BIAS_RATE = 30.0

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def make_optimizer(objective: nn.Module, stage: StageSettings) -> torch.optim.AdamW:
    """A fresh one for a stage.

    [D] Vectors and scalars (norms, biases, gates), latents, positions and the class token do
    not decay.
    """
    decayed, free, biases = [], [], []
    for name, parameter in objective.named_parameters():
        if "relative_bias" in name:
            biases.append(parameter)
        elif (
            parameter.ndim < 2
            or name.rpartition(".")[2] in ("latents", "position")
            or "class_token" in name
        ):
            free.append(parameter)
        else:
            decayed.append(parameter)
    groups = [
        {"params": decayed, "weight_decay": stage.weight_decay, "rate_scale": 1.0},
        {"params": free, "weight_decay": 0.0, "rate_scale": 1.0},
        {"params": biases, "weight_decay": 0.0, "rate_scale": RELATIVE_BIAS_RATE},
    ]
    first, second = stage.betas
    return torch.optim.AdamW(groups, lr=stage.learning_rate, betas=(first, second), fused=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next update."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_scale"]


def moments(objective: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """`<parameter>/<moment>` to tensor, of all parameters that were updated; no copies."""
    return {
        f"{name}/{moment}": optimizer.state[parameter][moment]
        for name, parameter in objective.named_parameters()
        if parameter in optimizer.state
        for moment in _MOMENTS
    }


def restore_moments(
    objective: nn.Module, optimizer: torch.optim.Optimizer, stored: Mapping[str, object]
) -> dict[str, Tensor]:
    """Room for the moments named in `stored`, under the same names; to be filled by the caller."""
    for name, parameter in objective.named_parameters():
        if f"{name}/step" not in stored:
            continue
        optimizer.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter, requires_grad=False),
            "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
        }
    return moments(objective, optimizer)
