"""From trained weights to what a bundle holds: rounded weights and golden outputs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_training.data.coder import TextCoder, padded
from tokenfuse_training.data.sample import Drawn, Sample, SampleMaker
from tokenfuse_training.data.source import Source, is_indexed, is_stream
from tokenfuse_training.errors import BadRecordError, DataError
from tokenfuse_training.golden import golden_outputs
from tokenfuse_training.model import JointModel
from tokenfuse_training.tasks.make import make_task
from tokenfuse_training.train_config import TrainConfig

__all__ = ["golden_tensors", "stored_weights"]

_NUM_GOLDEN = 4
# Records to look at for so many that can be used.
_TRIES = 400


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
        DataError: not one of the first 400 records of any stage can be used.
    """
    samples: list[Sample] = []
    for stage in reversed(config.stages):
        maker = SampleMaker(
            stage=stage,
            tasks={name: make_task(task, coder) for name, task in stage.tasks.items()},
            sources={task.data: sources[task.data] for task in stage.tasks.values()},
            coder=coder,
            preprocess=preprocess,
            seed=config.seed,
        )
        for name, task in stage.tasks.items():
            samples += _samples(maker, name, sources[task.data], _NUM_GOLDEN - len(samples))
        if samples:
            break
    if not samples:
        raise DataError(f"none of {_TRIES} records gives a picture with a text for golden outputs")
    texts = [sample.texts[0] for sample in samples]
    return golden_outputs(
        model,
        np.stack([sample.image for sample in samples]),
        padded([text.prompt for text in texts]).astype(np.int32),
        padded([text.targets[0][0] for text in texts]).astype(np.int32),
        preprocess,
    )


def _samples(maker: SampleMaker, task: str, source: Source, count: int) -> Iterator[Sample]:
    """The first that can be used, at most `count`."""
    if is_stream(source):
        raws = source.open_stream(0, seed=maker.seed, skip=0)
    else:
        assert is_indexed(source)
        raws = iter(range(len(source)))
    found = 0
    for position, raw in enumerate(itertools.islice(raws, _TRIES)):
        if found == count:
            return
        try:
            sample = maker.make(Drawn(task=task, position=position, raw=raw))
        except BadRecordError:
            continue
        if sample.texts:
            found += 1
            yield sample
