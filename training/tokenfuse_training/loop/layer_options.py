"""Options of the layers that change time and memory, and nothing that is computed."""

from __future__ import annotations

import functools

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tokenfuse_training.config.run_settings import RunSettings
from tokenfuse_training.loop.spread import LAYER_TYPES

__all__ = ["prepare_layers"]


def prepare_layers(objective: nn.Module, run: RunSettings) -> None:
    """Compile the layers and let them forget their activations, as the settings say.

    Both change what a layer's call does and none of its names, so checkpoints are the same.
    """
    layers = [module for module in objective.modules() if isinstance(module, LAYER_TYPES)]
    if run.activation_checkpointing:
        for layer in layers:
            # An iteration of the fusion holds layers; computing those twice over gains nothing.
            if not any(isinstance(inner, LAYER_TYPES) for inner in list(layer.modules())[1:]):
                layer.forward = functools.partial(checkpoint, layer.forward, use_reentrant=False)
    if run.compile:
        # Budgets are few; lengths of texts become dynamic where they change.
        torch._dynamo.config.recompile_limit = 64
        for layer in layers:
            layer.compile()
