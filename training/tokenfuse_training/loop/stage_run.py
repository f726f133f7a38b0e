"""What a stage runs on: its tasks, the sampler's plans, and the feed of its batches.

What a later stage cannot do is told before the first begins: nothing can be changed then.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.config.stage_settings import StageSettings, TaskSettings
from tokenfuse_training.config.train_config import TrainConfig
from tokenfuse_training.data.coder import TextCoder
from tokenfuse_training.data.feed import Feed
from tokenfuse_training.data.plan import Planner, check_batch_size
from tokenfuse_training.data.source import Source, is_indexed
from tokenfuse_training.data.streams import check_source
from tokenfuse_training.loop.ranks import Ranks
from tokenfuse_training.loop.schedule import check_budgets
from tokenfuse_training.loop.terms import Terms
from tokenfuse_training.samplers.make import make_sampler
from tokenfuse_training.samplers.sampler import Sampler
from tokenfuse_training.start import Beginning
from tokenfuse_training.tasks.make import make_task

__all__ = ["StageRun", "check_stages", "check_tasks", "open_stage"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StageRun:
    """A stage that is open.

    Args:
        feed: gives (plan, batch) to the stage's end.
        planner: is told each step's losses, and plans another.
        terms: of the loss.
    """

    feed: Feed
    planner: Planner
    terms: Terms


def _size(task: TaskSettings, source: Source) -> int:
    """Pictures of a task's data set; 0 where nobody says."""
    return task.size or (len(source) if is_indexed(source) else 0)


def _sampler(stage: StageSettings, sources: Mapping[str, Source]) -> Sampler:
    try:
        return make_sampler(
            stage.sampler,
            sizes=[_size(task, sources[task.data]) for task in stage.tasks.values()],
            reference_losses=[task.reference_loss for task in stage.tasks.values()],
        )
    except ConfigError as error:
        raise ConfigError(f"stages.{stage.name}: {error}") from error


def check_tasks(config: TrainConfig, coder: TextCoder) -> None:
    """Make sure that every stage can be what it says, as far as no data are needed for that.

    Raises:
        ConfigError: a task's options or words, a step with fewer pictures than tasks.
    """
    for stage in config.stages:
        check_batch_size(stage.name, stage.batch_size, len(stage.tasks))
        for name, task in stage.tasks.items():
            try:
                make_task(task, coder)
            except ConfigError as error:
                raise ConfigError(f"stages.{stage.name}.tasks.{name}: {error}") from error


def check_stages(
    config: TrainConfig, beginning: Beginning, sources: Mapping[str, Source], world_size: int
) -> None:
    """Make sure that every stage can be run.

    Args:
        config: of the run.
        beginning: the model and its tokenizer.
        sources: of every data set that a stage names.
        world_size: ranks that share each step.

    Raises:
        ConfigError: as `check_tasks`; budgets that the model has not, streams that the ranks
            cannot share evenly, a data set of unknown size.
        DataError: a data set without records.
    """
    check_tasks(config, TextCoder.of_model(beginning.tokenizer_json, beginning.model_config))
    for stage in config.stages:
        check_budgets(stage, beginning.model_config.fusion)
        for task in stage.tasks.values():
            check_source(task.data, sources[task.data], world_size)
        _sampler(stage, sources)


@contextlib.contextmanager
def open_stage(
    config: TrainConfig,
    stage: StageSettings,
    first_step: int,
    *,
    sources: Mapping[str, Source],
    beginning: Beginning,
    ranks: Ranks,
    planner_state: Mapping[str, Any] | None,
) -> Iterator[StageRun]:
    """Open a stage's data; its workers end with the context.

    Args:
        config: of the run.
        stage: one of its stages.
        first_step: of the stage, in the run.
        sources: of every data set that the stage names.
        beginning: tokenizer and preprocessing.
        ranks: this rank's part of every batch is read.
        planner_state: to go on in the middle; None to begin.

    Raises:
        ConfigError: a task's options, a data set of unknown size.
    """
    coder = TextCoder.of_model(beginning.tokenizer_json, beginning.model_config)
    tasks = {name: make_task(settings, coder) for name, settings in stage.tasks.items()}
    planner = Planner(
        tuple(tasks),
        _sampler(stage, sources),
        stage.batch_size,
        stage.sampler.ahead,
        first_step=first_step,
    )
    if planner_state is not None:
        planner.load_state_dict(planner_state)
    feed = Feed(
        stage,
        tasks,
        sources,
        coder,
        beginning.preprocess,
        seed=config.seed,
        planner=planner,
        rank=ranks.rank,
        world_size=ranks.world_size,
        num_workers=config.run.num_workers,
        max_bad_shares={name: data.max_bad_share for name, data in config.data.items()},
    )
    with feed:
        yield StageRun(feed=feed, planner=planner, terms=Terms(stage, tasks))
