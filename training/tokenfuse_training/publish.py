"""From a checkpoint to a bundle: half-precision weights, golden outputs, model card."""

from __future__ import annotations

import numpy as np
import torch

from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_training.data.store import SceneStore
from tokenfuse_training.golden import golden_outputs
from tokenfuse_training.model import JointModel

__all__ = ["golden_tensors", "half_precision_weights"]


def half_precision_weights(model: JointModel) -> dict[str, np.ndarray]:
    """The weights rounded to float16, name to array; what a shipped bundle holds.

    Raises:
        OverflowError: a weight is beyond float16's largest value, 65,504.
    """
    weights = {}
    for name, tensor in model.state_dict().items():
        half = tensor.detach().cpu().to(torch.float16)
        if not bool(torch.isfinite(half).all()):
            raise OverflowError(f"{name} does not fit float16; store this model as float32")
        weights[name] = half.numpy()
    return weights


def golden_tensors(
    model: JointModel, store: SceneStore, config: PreprocessConfig, *, count: int
) -> dict[str, np.ndarray]:
    """`golden_outputs` for the first question of `count` scenes."""
    questions = store.questions
    return golden_outputs(
        model,
        store.images_u8[:count],
        questions.text[:count, 0],
        questions.answer[:count, 0],
        config,
    )
