"""From trained weights to what a bundle holds: rounded weights and golden outputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_training.config.train_config import TrainConfig
from tokenfuse_training.data.coder import TextCoder, padded
from tokenfuse_training.data.sample import Sample
from tokenfuse_training.data.source import Source
from tokenfuse_training.data.usable import NUM_TRIES, usable_samples
from tokenfuse_training.errors import DataError
from tokenfuse_training.model import JointModel
from tokenfuse_training.publishing.golden import golden_outputs
from tokenfuse_training.usable_tasks import sample_maker

__all__ = ["golden_tensors", "stored_weights"]

_NUM_GOLDEN = 4


def stored_weights(averaged: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """The weights as a bundle stores them, name to array.

    float16; all of them float32 where one is beyond float16's largest value, 65,504.
    """
    weights = {name: tensor.detach().cpu().float() for name, tensor in averaged.items()}
    halves = {name: tensor.to(torch.float16) for name, tensor in weights.items()}
    fits = all(bool(torch.isfinite(half).all()) for half in halves.values())
    return {name: tensor.numpy() for name, tensor in (halves if fits else weights).items()}


def golden_tensors(
    model: JointModel,
    config: TrainConfig,
    sources: Mapping[str, Source],
    coder: TextCoder,
    preprocess: PreprocessConfig,
) -> dict[str, np.ndarray]:
    """`golden_outputs` for a text of each of four samples of the last stage that has texts.

    Raises:
        DataError: not one of the records that are tried can be used.
    """
    samples: list[Sample] = []
    for stage in reversed(config.stages):
        maker = sample_maker(stage, sources, coder, preprocess, seed=config.seed)
        for name in stage.tasks:
            samples += usable_samples(maker, name, _NUM_GOLDEN - len(samples))
        if samples:
            break
    if not samples:
        raise DataError(
            f"none of {NUM_TRIES} records gives a picture with a text for golden outputs"
        )
    texts = [sample.texts[0] for sample in samples]
    return golden_outputs(
        model,
        np.stack([sample.image for sample in samples]),
        padded([text.prompt for text in texts]).astype(np.int32),
        padded([text.targets[0][0] for text in texts]).astype(np.int32),
        preprocess,
    )
