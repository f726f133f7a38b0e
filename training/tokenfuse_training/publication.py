"""What follows a training: evaluation, the card, the bundle, and its record of precisions."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import platform
from collections.abc import Mapping

import click
import torch
from torch import Tensor

from tokenfuse_sdk.atomic import write_file
from tokenfuse_sdk.bundle import MIN_QUESTIONS, write_bundle
from tokenfuse_sdk.errors import BundleFormatError, UnsupportedModelError
from tokenfuse_training.answerers import TorchAnswerer
from tokenfuse_training.asked_set import config_set
from tokenfuse_training.card import CardFacts, model_card
from tokenfuse_training.data.coder import TextCoder
from tokenfuse_training.data.source import Source, is_indexed
from tokenfuse_training.evaluate import Evaluation, evaluate_set
from tokenfuse_training.guesses import guessed
from tokenfuse_training.loop.log import LOG_NAME
from tokenfuse_training.loop.ranks import Ranks
from tokenfuse_training.model import JointModel, model_from_weights
from tokenfuse_training.precisions import record_measured
from tokenfuse_training.progress import bar
from tokenfuse_training.publish import golden_tensors, stored_weights
from tokenfuse_training.sampling_plot import plot_sampling
from tokenfuse_training.sources import with_scenes_in
from tokenfuse_training.start import Beginning
from tokenfuse_training.train_config import TrainConfig

__all__ = ["TrainedRun", "publish_run", "record_precisions"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrainedRun:
    """What evaluation and publication need of a run that is done."""

    config: TrainConfig
    beginning: Beginning
    coder: TextCoder
    sources: Mapping[str, Source]
    ranks: Ranks
    seconds: float


def publish_run(
    run: TrainedRun,
    averaged: Mapping[str, Tensor],
    *,
    work: pathlib.Path,
    output: pathlib.Path,
    overwrite: bool,
) -> None:
    """Evaluate the averaged weights and write the bundle; what was measured stays in `work` too."""
    beginning = run.beginning
    weights = stored_weights(averaged)
    # What is published is what is measured: rounded as it is stored.
    reference = model_from_weights(beginning.model_config, weights)
    golden = golden_tensors(reference, run.config, run.sources, run.coder, beginning.preprocess)
    evaluations = _evaluations(run, reference.to(run.ranks.device))
    _write_evaluations(work / "evaluation.json", evaluations)
    if any(len(stage.tasks) > 1 for stage in run.config.stages):
        plot_sampling(work / LOG_NAME, work / "sampling.png")
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
        output,
        config=beginning.model_config,
        preprocess=beginning.preprocess,
        tokenizer_json=beginning.tokenizer_json.decode(),
        weights=weights,
        card=model_card(facts),
        golden=golden,
        overwrite=overwrite,
    )


def _hardware(ranks: Ranks) -> str:
    if ranks.device.type == "cuda":
        return f"{ranks.world_size} x {torch.cuda.get_device_name(ranks.device)}"
    many = f"{ranks.world_size} ranks, " if ranks.world_size > 1 else ""
    return f"{many}{platform.machine()}, {torch.get_num_threads()} threads, {ranks.device.type}"


def _evaluations(run: TrainedRun, model: JointModel) -> dict[str, Evaluation]:
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


def record_precisions(config: TrainConfig, *, work: pathlib.Path, output: pathlib.Path) -> None:
    """Ask the bundle in every precision what the first entry of `evaluate` asks.

    A model without a record runs in fp32 unless asked: where none can be made, it is said why.
    """
    count = config.run.record_questions
    if not count or not config.evaluate:
        return
    name, entry = next(iter(config.evaluate.items()))
    count = min(count, entry.num_questions or count)
    asked = config_set(with_scenes_in(config, work), name, num_questions=count)
    try:
        record_measured(output, asked)
    except UnsupportedModelError as error:
        click.echo(f"no record of precisions: {error}", err=True)
    except BundleFormatError as error:
        # Fewer questions than a record needs; the bundle itself was read when it was written.
        click.echo(f"no record of precisions, which needs {MIN_QUESTIONS}: {error}", err=True)
