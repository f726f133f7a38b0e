"""A whole run of a config: data, training, evaluation, the bundle and its record."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import click

from tokenfuse_sdk.atomic import write_file
from tokenfuse_training.config.config_file import config_yaml
from tokenfuse_training.config.train_config import TrainConfig
from tokenfuse_training.data.coder import TextCoder
from tokenfuse_training.data.source import Source
from tokenfuse_training.loop.ranks import Ranks, join_ranks, on_rank_0
from tokenfuse_training.loop.stage_run import check_tasks
from tokenfuse_training.loop.trainer import Trainer
from tokenfuse_training.progress import bar
from tokenfuse_training.publishing.publication import FinishedRun, publish
from tokenfuse_training.sources import open_sources, with_scenes_in
from tokenfuse_training.start import Beginning, begin
from tokenfuse_training.usable_tasks import check_usable

__all__ = ["RunOptions", "run_trainer", "train_config"]


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
    """Train, evaluate, write the bundle and record its precisions.

    Under `torchrun` every rank calls it; rank 0 evaluates, writes, and says what was done.

    Returns:
        False when `max_minutes` came first.

    Raises:
        EvaluationError: the bundle is written, but not all of `evaluate` could be done.
        TokenfuseError: as it says; the checkpoints stay.
    """
    # Scenes are drawn into the work folder; its name decides nothing that is learned.
    placed = with_scenes_in(config, options.work)
    beginning = begin(config)
    coder = TextCoder.of_model(beginning.tokenizer_json, beginning.model_config)
    # Again in the trainer; here before scenes are drawn.
    check_tasks(config, coder)
    with join_ranks(config.run) as ranks:
        sources = _sources(placed, beginning, ranks)
        on_rank_0(lambda: check_usable(config, sources, coder, beginning.preprocess))
        trainer = Trainer(placed, beginning, sources, ranks=ranks, directory=options.work)
        # Behind the trainer, which refuses to go on with another run's folder.
        on_rank_0(lambda: _write_config(config, options.work))
        if not run_trainer(trainer, options.max_minutes):
            if ranks.rank == 0:
                click.echo(f"stopped; run again to go on from {options.work}", err=True)
            return False
        averaged = trainer.averaged_weights()
    # The others are done: evaluation may take longer than ranks wait for one another.
    if ranks.rank == 0:
        run = FinishedRun(
            config=placed,
            beginning=beginning,
            coder=coder,
            sources=sources,
            ranks=ranks,
            seconds=trainer.seconds,
            work=options.work,
            output=options.output,
            overwrite=options.overwrite,
        )
        publish(run, averaged)
    return True


def _sources(config: TrainConfig, beginning: Beginning, ranks: Ranks) -> dict[str, Source]:
    """All data sets, opened before the training: also those that it will be evaluated on."""
    trained = [task.data for stage in config.stages for task in stage.tasks.values()]
    asked = [entry.data for entry in config.evaluate.values()]
    vision = beginning.model_config.vision

    def open_all(names: list[str], *, quiet: bool) -> dict[str, Source]:
        return open_sources(config, names, vision=vision, quiet=quiet)

    # First by rank 0, which draws scenes and reads what only it asks; then by the others.
    opened: dict[str, Source] = {}
    on_rank_0(lambda: opened.update(open_all(trained + asked, quiet=False)))
    return opened if ranks.rank == 0 else open_all(trained, quiet=True)


def _write_config(config: TrainConfig, work: pathlib.Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    write_file(work / "config.yaml", config_yaml(config).encode())


def run_trainer(trainer: Trainer, max_minutes: float = float("inf")) -> bool:
    """Train to the end: true; or to where the time is up. Rank 0 shows a bar.

    Raises:
        KeyboardInterrupt: after it was said where the same command goes on.
        TokenfuseError: of the training.
    """
    if trainer.ranks.rank != 0:
        return trainer.run(lambda line: None, max_minutes)
    click.echo(f"peak: {trainer.peak}", err=True)
    with bar("training", total=trainer.config.num_steps, completed=trainer.step) as update:

        def show(values: Mapping[str, Any]) -> None:
            update(completed=values["step"], description=_said(values))

        try:
            done = trainer.run(show, max_minutes)
        except KeyboardInterrupt:
            click.echo(_goes_on(trainer.saved_step), err=True)
            raise
        update(completed=trainer.step)
    return done


def _goes_on(step: int) -> str:
    if step:
        return f"run again to go on from step {step}"
    return "run again to begin anew: there is no checkpoint yet"


def _said(line: Mapping[str, Any]) -> str:
    """A line of the log, for the bar."""
    said = f"{line['stage']}: loss {line['loss']:.3f}"
    if "pictures_per_second" in line:
        said += f", {line['pictures_per_second']:.0f} pictures/s"
    if "flops_share" in line:
        said += f", {100 * line['flops_share']:.0f}% of peak"
    return said
