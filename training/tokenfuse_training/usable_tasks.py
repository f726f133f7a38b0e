"""Whether every task of a run has something to learn from: told before the first step."""

from __future__ import annotations

from collections.abc import Mapping

from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_training.config.stage_settings import StageSettings
from tokenfuse_training.config.train_config import TrainConfig
from tokenfuse_training.data.coder import TextCoder
from tokenfuse_training.data.sample import SampleMaker
from tokenfuse_training.data.source import Source
from tokenfuse_training.data.usable import usable_samples
from tokenfuse_training.errors import DataError
from tokenfuse_training.tasks.make import make_task

__all__ = ["check_usable", "sample_maker"]

_MAX_MESSAGES = 3


def sample_maker(
    stage: StageSettings,
    sources: Mapping[str, Source],
    coder: TextCoder,
    preprocess: PreprocessConfig,
    *,
    seed: int,
) -> SampleMaker:
    """What makes the samples of a stage.

    Args:
        stage: names its tasks and data sets.
        sources: of every data set that it names.
        coder, preprocess: of the model.
        seed: of the run.
    """
    return SampleMaker(
        stage=stage,
        tasks={name: make_task(task, coder) for name, task in stage.tasks.items()},
        sources={task.data: sources[task.data] for task in stage.tasks.values()},
        coder=coder,
        preprocess=preprocess,
        seed=seed,
    )


def check_usable(
    config: TrainConfig,
    sources: Mapping[str, Source],
    coder: TextCoder,
    preprocess: PreprocessConfig,
) -> None:
    """Make sure that each task of each stage can use a record of its data set.

    [D] Of up to 400 records, spread over the data set, one that can be used is enough:
    `max_bad_share` judges the rest as they are read.

    Args:
        config: of the run.
        sources: of every data set that a stage names.
        coder, preprocess: of the model.

    Raises:
        DataError: not one; says where and what the first ones said.
    """
    for stage in config.stages:
        maker = sample_maker(stage, sources, coder, preprocess, seed=config.seed)
        for name, task in stage.tasks.items():
            said: list[str] = []
            if not usable_samples(maker, name, 1, said):
                raise DataError(
                    f"stages.{stage.name}.tasks.{name}: not one of the {len(said)} records of data "
                    f"{task.data} that were tried can be used. The first ones:\n  "
                    + "\n  ".join(said[:_MAX_MESSAGES])
                    + "\nMend the data set, or take the task away"
                )
