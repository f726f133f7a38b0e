"""The moving average of the weights: what is evaluated and published.

`e <- d e + (1 - d) w` after every update, with d = min(ema_decay, (1 + s) / (10 + s)) after s
updates of the run: [D] a young average follows faster, so that it forgets its start.
"""

from __future__ import annotations

import torch
from torch import nn

from tokenfuse_training.loop.spread import local

__all__ = ["MovingAverage", "decay_at"]


def decay_at(ema_decay: float, num_updates: int) -> float:
    """d after so many updates of the run."""
    return min(ema_decay, (1 + num_updates) / (10 + num_updates))


class MovingAverage:
    """Spread over ranks as the weights are.

    Args:
        model: whose parameters to follow, from what they are now.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.tensors = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Follow the weights."""
        averaged = [local(tensor) for tensor in self.tensors.values()]
        weights = [local(parameter.detach()) for parameter in self._model.parameters()]
        torch._foreach_lerp_(averaged, weights, 1.0 - decay)

    @torch.no_grad()
    def give(self, modules: list[nn.Module]) -> None:
        """Set the weights of these parts of the model to their averages."""
        wanted = {id(parameter) for module in modules for parameter in module.parameters()}
        for name, parameter in self._model.named_parameters():
            if id(parameter) in wanted:
                local(parameter.detach()).copy_(local(self.tensors[name]))
