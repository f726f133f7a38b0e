"""A whole run of a config: data, training, evaluation, and the bundle."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from tokenfuse_sdk.atomic import write_file
from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.config_file import config_yaml
from tokenfuse_training.data.coder import TextCoder
from tokenfuse_training.data.source import Source
from tokenfuse_training.loop.ranks import Ranks, join_ranks, on_rank_0
from tokenfuse_training.progress import bar
from tokenfuse_training.publication import TrainedRun, publish_run
from tokenfuse_training.sources import open_sources, with_scenes_in
from tokenfuse_training.start import Beginning, begin
from tokenfuse_training.tasks.make import make_task
from tokenfuse_training.train_config import TrainConfig

if TYPE_CHECKING:
    from tokenfuse_training.loop.trainer import Trainer

__all__ = ["RunOptions", "train_config"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Where to and how long.

    Args:
        output: the bundle.
        work: checkpoints, log and drawn scenes; a later run with it goes on.
        max_minutes: of training, then a checkpoint and the end.
        overwrite: replace a bundle that is there.
    """

    output: pathlib.Path
    work: pathlib.Path
    max_minutes: float = float("inf")
    overwrite: bool = False


def train_config(config: TrainConfig, options: RunOptions) -> bool:
    """Train, evaluate and write the bundle.

    Under `torchrun` every rank calls it; rank 0 evaluates and writes.

    Returns:
        False when `max_minutes` came first.

    Raises:
        TokenfuseError: as it says; the checkpoints stay.
    """
    # Scenes are drawn into the work folder; its name decides nothing that is learned.
    placed = with_scenes_in(config, options.work)
    beginning = begin(config)
    coder = _coder(beginning)
    _check_tasks(config, coder)
    with join_ranks(config.run) as ranks:
        sources = _sources(placed, beginning, ranks)
        if ranks.rank == 0:
            options.work.mkdir(parents=True, exist_ok=True)
            write_file(options.work / "config.yaml", config_yaml(config).encode())
        trainer = _trained(placed, beginning, sources, ranks, options)
        if trainer is None:
            return False
        averaged = trainer.averaged_weights()
    # The others are done: evaluation may take longer than ranks wait for one another.
    if ranks.rank == 0:
        run = TrainedRun(
            config=placed,
            beginning=beginning,
            coder=coder,
            sources=sources,
            ranks=ranks,
            seconds=trainer.seconds,
        )
        publish_run(
            run, averaged, work=options.work, output=options.output, overwrite=options.overwrite
        )
    return True


def _coder(beginning: Beginning) -> TextCoder:
    config = beginning.model_config
    return TextCoder(
        beginning.tokenizer_json,
        vocab_size=config.text.vocab_size,
        max_text_tokens=config.text.max_tokens,
        max_answer_tokens=config.decoder.max_tokens,
    )


def _check_tasks(config: TrainConfig, coder: TextCoder) -> None:
    """What the last stage cannot do is told now, not after the first."""
    for stage in config.stages:
        for name, task in stage.tasks.items():
            try:
                make_task(task, coder)
            except ConfigError as error:
                raise ConfigError(f"stages.{stage.name}.tasks.{name}: {error}") from error


def _sources(config: TrainConfig, beginning: Beginning, ranks: Ranks) -> dict[str, Source]:
    """All data sets, opened before the training: also those that it will be evaluated on."""
    trained = [task.data for stage in config.stages for task in stage.tasks.values()]
    asked = [entry.data for entry in config.evaluate.values()]
    vision = beginning.model_config.vision

    def open_all(names: list[str], quiet: bool) -> dict[str, Source]:
        return open_sources(config, names, vision=vision, quiet=quiet)

    # Scenes are drawn once, by rank 0; streams and index files are read by each.
    if ranks.world_size > 1:
        on_rank_0(lambda: open_all(trained + asked, False) and None)
    return open_all(trained + (asked if ranks.rank == 0 else []), ranks.world_size > 1)


def _trained(
    config: TrainConfig,
    beginning: Beginning,
    sources: Mapping[str, Source],
    ranks: Ranks,
    options: RunOptions,
) -> Trainer | None:
    """The trained trainer, or None when the time was up first."""
    from tokenfuse_training.loop.trainer import Trainer

    trainer = Trainer(config, beginning, sources, ranks=ranks, directory=options.work)
    if ranks.rank != 0:
        return trainer if trainer.run(lambda line: None, options.max_minutes) else None
    click.echo(f"peak: {trainer.peak}", err=True)
    with bar("training", total=config.num_steps, completed=trainer.step) as update:

        def show(values: Mapping[str, Any]) -> None:
            update(completed=values["step"], description=_said(values))

        done = trainer.run(show, options.max_minutes)
        update(completed=trainer.step)
    return trainer if done else None


def _said(line: Mapping[str, Any]) -> str:
    """A line of the log, for the bar."""
    said = f"{line['stage']}: loss {line['loss']:.3f}"
    if "pictures_per_second" in line:
        said += f", {line['pictures_per_second']:.0f} pictures/s"
    if "flops_share" in line:
        said += f", {100 * line['flops_share']:.0f}% of peak"
    return said
