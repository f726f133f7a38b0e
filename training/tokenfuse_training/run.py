"""A whole run of a config: data, training, evaluation, and the bundle."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
import torch
from torch import Tensor

from tokenfuse_sdk.atomic import write_file
from tokenfuse_sdk.bundle import MIN_QUESTIONS, write_bundle
from tokenfuse_sdk.errors import BundleFormatError, ConfigError, UnsupportedModelError
from tokenfuse_training.answerers import TorchAnswerer
from tokenfuse_training.asked_set import config_set
from tokenfuse_training.card import CardFacts, model_card
from tokenfuse_training.config_file import config_yaml
from tokenfuse_training.data.coder import TextCoder
from tokenfuse_training.data.source import Source, is_indexed
from tokenfuse_training.evaluate import Evaluation, evaluate_set
from tokenfuse_training.guesses import guessed
from tokenfuse_training.loop.log import LOG_NAME
from tokenfuse_training.loop.ranks import Ranks, join_ranks, on_rank_0
from tokenfuse_training.model import JointModel, model_from_weights
from tokenfuse_training.precisions import record_measured
from tokenfuse_training.progress import bar
from tokenfuse_training.publish import golden_tensors, stored_weights
from tokenfuse_training.sampling_plot import plot_sampling
from tokenfuse_training.sources import open_sources, with_scenes_in
from tokenfuse_training.start import Beginning, begin
from tokenfuse_training.tasks.make import make_task
from tokenfuse_training.train_config import TrainConfig

if TYPE_CHECKING:
    from tokenfuse_training.loop.trainer import Trainer

__all__ = ["RunOptions", "record_precisions", "train_config"]


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
        run = _Trained(
            config=placed,
            beginning=beginning,
            coder=coder,
            sources=sources,
            ranks=ranks,
            seconds=trainer.seconds,
        )
        _publish(run, averaged, options)
    return True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Trained:
    """What evaluation and publication need of a run that is done."""

    config: TrainConfig
    beginning: Beginning
    coder: TextCoder
    sources: Mapping[str, Source]
    ranks: Ranks
    seconds: float


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


def _publish(run: _Trained, averaged: Mapping[str, Tensor], options: RunOptions) -> None:
    beginning = run.beginning
    weights = stored_weights(averaged)
    # What is published is what is measured: rounded as it is stored.
    reference = model_from_weights(beginning.model_config, weights)
    golden = golden_tensors(reference, run.config, run.sources, run.coder, beginning.preprocess)
    evaluations = _evaluations(run, reference.to(run.ranks.device))
    _write_evaluations(options.work / "evaluation.json", evaluations)
    if any(len(stage.tasks) > 1 for stage in run.config.stages):
        plot_sampling(options.work / LOG_NAME, options.work / "sampling.png")
    facts = CardFacts(
        config=run.config,
        model=beginning.model_config,
        notes=beginning.notes,
        sizes={name: len(source) for name, source in run.sources.items() if is_indexed(source)},
        seconds=run.seconds,
        hardware=_hardware(run.ranks),
        torch_version=torch.__version__,
        num_parameters=sum(array.size for array in weights.values()),
        dtype=str(next(iter(weights.values())).dtype),
        evaluations=evaluations,
        guesses=_guesses(run.config, run.sources),
    )
    write_bundle(
        options.output,
        config=beginning.model_config,
        preprocess=beginning.preprocess,
        tokenizer_json=beginning.tokenizer_json.decode(),
        weights=weights,
        card=model_card(facts),
        golden=golden,
        overwrite=options.overwrite,
    )


def _hardware(ranks: Ranks) -> str:
    if ranks.device.type == "cuda":
        return f"{ranks.world_size} x {torch.cuda.get_device_name(ranks.device)}"
    many = f"{ranks.world_size} ranks, " if ranks.world_size > 1 else ""
    return f"{many}{platform.machine()}, {torch.get_num_threads()} threads, {ranks.device.type}"


def _evaluations(run: _Trained, model: JointModel) -> dict[str, Evaluation]:
    beginning = run.beginning
    answerer = TorchAnswerer(model, run.coder, beginning.preprocess)
    done: dict[str, Evaluation] = {}
    for name, entry in run.config.evaluate.items():
        asked = config_set(run.config, name, source=run.sources[entry.data])
        with bar(f"testing {name}", total=asked.num_questions or None) as update:
            done[name] = evaluate_set(
                answerer,
                asked,
                vision=beginning.model_config.vision,
                token_budgets=beginning.model_config.fusion.token_budgets,
                report=lambda count, show=update: show(completed=count),
            )
            count = len(done[name].predictions)
            update(total=count, completed=count)
    return done


def _write_evaluations(path: pathlib.Path, evaluations: Mapping[str, Evaluation]) -> None:
    value = {
        name: {
            "accuracy": [accuracy.to_dict() for accuracy in done.accuracies],
            "num_bad_pictures": done.num_bad,
            "num_refused": done.num_refused,
        }
        for name, done in evaluations.items()
    }
    write_file(path, json.dumps(value, indent=2).encode() + b"\n")


def _guesses(
    config: TrainConfig, sources: Mapping[str, Source]
) -> dict[str, list[tuple[str, float]]]:
    """For each entry of `evaluate` whose task was trained on another data set."""
    trained = {
        task.task: task.data
        for stage in config.stages
        for task in stage.tasks.values()
        if is_indexed(sources[task.data])
    }
    return {
        name: guessed(entry.task, sources[trained[entry.task]], sources[entry.data])
        for name, entry in config.evaluate.items()
        if entry.task in trained and trained[entry.task] != entry.data
    }


def record_precisions(config: TrainConfig, options: RunOptions) -> None:
    """Ask the bundle in every precision what the first entry of `evaluate` asks.

    A model without a record runs in fp32 unless asked: where none can be made, it is said why.
    """
    count = config.run.record_questions
    if not count or not config.evaluate:
        return
    name, entry = next(iter(config.evaluate.items()))
    count = min(count, entry.num_questions or count)
    asked = config_set(with_scenes_in(config, options.work), name, num_questions=count)
    try:
        record_measured(options.output, asked)
    except UnsupportedModelError as error:
        click.echo(f"no record of precisions: {error}", err=True)
    except BundleFormatError as error:
        # Fewer questions than a record needs; the bundle itself was read when it was written.
        click.echo(f"no record of precisions, which needs {MIN_QUESTIONS}: {error}", err=True)
