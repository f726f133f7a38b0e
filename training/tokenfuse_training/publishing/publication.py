"""What follows the last step of a run: evaluation, the bundle, and its record of precisions.

[D] What cannot be evaluated costs no bundle: it is written without that table, and then told.
"""

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
from tokenfuse_sdk.bundle import write_bundle
from tokenfuse_sdk.errors import BundleFormatError, TokenfuseError, UnsupportedModelError
from tokenfuse_training.config.train_config import TrainConfig
from tokenfuse_training.data.coder import TextCoder
from tokenfuse_training.data.source import Source, is_indexed
from tokenfuse_training.errors import EvaluationError
from tokenfuse_training.evaluation.answerers import TorchAnswerer
from tokenfuse_training.evaluation.asked_set import config_set
from tokenfuse_training.evaluation.evaluate import Evaluation, evaluate_set
from tokenfuse_training.evaluation.guesses import guessed
from tokenfuse_training.loop.log import LOG_NAME
from tokenfuse_training.loop.ranks import Ranks
from tokenfuse_training.model import JointModel, model_from_weights
from tokenfuse_training.progress import bar
from tokenfuse_training.publishing.card import CardFacts, model_card
from tokenfuse_training.publishing.left_out import left_out
from tokenfuse_training.publishing.precisions import record_measured
from tokenfuse_training.publishing.publish import golden_tensors, stored_weights
from tokenfuse_training.sampling_plot import plot_sampling
from tokenfuse_training.start import Beginning

__all__ = ["FinishedRun", "publish"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """What evaluation and publication need of a run that is trained.

    Args:
        config: of the run; scenes have the roots in which they lie.
        beginning, coder: of the model.
        sources: of every data set that is learned or asked, by name.
        ranks: that trained it; only rank 0 publishes.
        seconds: of training.
        work: the folder of checkpoints and log.
        output: the bundle.
        overwrite: replace a bundle that is there.
    """

    config: TrainConfig
    beginning: Beginning
    coder: TextCoder
    sources: Mapping[str, Source]
    ranks: Ranks
    seconds: float
    work: pathlib.Path
    output: pathlib.Path
    overwrite: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Evaluated:
    """By name of `evaluate`: what came out, what guesses get, or why there is nothing."""

    done: dict[str, Evaluation] = dataclasses.field(default_factory=dict)
    guesses: dict[str, list[tuple[str, float]]] = dataclasses.field(default_factory=dict)
    failed: dict[str, Exception] = dataclasses.field(default_factory=dict)


def publish(run: FinishedRun, averaged: Mapping[str, Tensor]) -> None:
    """Evaluate, write the bundle, and ask it in every precision.

    Args:
        run: that is trained.
        averaged: its weights.

    Raises:
        EvaluationError: the bundle is written, but not all of `evaluate` could be done.
        TokenfuseError: the bundle cannot be written.
    """
    beginning = run.beginning
    weights = stored_weights(averaged)
    # What is published is what is measured: rounded as it is stored.
    reference = model_from_weights(beginning.model_config, weights)
    golden = golden_tensors(reference, run.config, run.sources, run.coder, beginning.preprocess)
    evaluated = _evaluate(run, reference.to(run.ranks.device))
    _write_evaluations(run.work / "evaluation.json", evaluated)
    _plot_sampling(run)
    missed = left_out(run.work / LOG_NAME, run.config)
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
        evaluations=evaluated.done,
        not_evaluated=tuple(evaluated.failed),
        guesses=evaluated.guesses,
        left_out=tuple(map(str, missed)),
    )
    write_bundle(
        run.output,
        config=beginning.model_config,
        preprocess=beginning.preprocess,
        tokenizer_json=beginning.tokenizer_json.decode(),
        weights=weights,
        card=model_card(facts),
        golden=golden,
        overwrite=run.overwrite,
    )
    _record_precisions(run, evaluated)
    for one in missed:
        click.echo(f"left out of {one}; the first: {one.said}", err=True)
    click.echo(f"wrote {run.output}", err=True)
    if evaluated.failed:
        raise _told(run, evaluated.failed)


def _plot_sampling(run: FinishedRun) -> None:
    """Of a run with a choice of tasks. A log that cannot be drawn is no reason to lose a model."""
    if all(len(stage.tasks) == 1 for stage in run.config.stages):
        return
    try:
        plot_sampling(run.work / LOG_NAME, run.work / "sampling.png")
    except (TokenfuseError, OSError, ModuleNotFoundError) as error:
        click.echo(f"no sampling.png: {error}", err=True)


def _hardware(ranks: Ranks) -> str:
    if ranks.device.type == "cuda":
        return f"{ranks.world_size} x {torch.cuda.get_device_name(ranks.device)}"
    many = f"{ranks.world_size} ranks, " if ranks.world_size > 1 else ""
    return f"{many}{platform.machine()}, {torch.get_num_threads()} threads, {ranks.device.type}"


def _evaluate(run: FinishedRun, model: JointModel) -> _Evaluated:
    answerer = TorchAnswerer(model, run.coder, run.beginning.preprocess)
    evaluated = _Evaluated()
    for name in run.config.evaluate:
        try:
            done, guesses = _evaluation(run, answerer, name), _guesses(run, name)
        except Exception as error:  # Raised behind the bundle: days of training are worth more.
            evaluated.failed[name] = error
        else:
            evaluated.done[name], evaluated.guesses[name] = done, guesses
    return evaluated


def _evaluation(run: FinishedRun, answerer: TorchAnswerer, name: str) -> Evaluation:
    model = run.beginning.model_config
    asked = config_set(run.config, name, source=run.sources[run.config.evaluate[name].data])
    with bar(f"testing {name}", total=asked.num_questions or None) as update:
        done = evaluate_set(
            answerer,
            asked,
            vision=model.vision,
            token_budgets=model.fusion.token_budgets,
            report=lambda count: update(completed=count),
        )
        count = len(done.predictions)
        update(total=count, completed=count)
    return done


def _guesses(run: FinishedRun, name: str) -> list[tuple[str, float]]:
    """Where the entry's task was trained on another data set."""
    entry = run.config.evaluate[name]
    trained = {task.task: task.data for stage in run.config.stages for task in stage.tasks.values()}
    data = trained.get(entry.task, entry.data)
    if data == entry.data:
        return []
    return guessed(entry.task, run.sources[data], run.sources[entry.data])


def _write_evaluations(path: pathlib.Path, evaluated: _Evaluated) -> None:
    value: dict[str, object] = {
        name: {
            "accuracy": [accuracy.to_dict() for accuracy in done.accuracies],
            "num_bad_pictures": done.num_bad,
            "num_refused": done.num_refused,
        }
        for name, done in evaluated.done.items()
    }
    value |= {name: {"error": str(error)} for name, error in evaluated.failed.items()}
    write_file(path, json.dumps(value, indent=2).encode() + b"\n")


def _record_precisions(run: FinishedRun, evaluated: _Evaluated) -> None:
    """Ask the bundle in every precision what the first entry of `evaluate` asks.

    A model without a record runs in fp32 unless asked: where none can be made, it is said why.
    """
    count = run.config.run.record_questions
    if not count or not run.config.evaluate:
        return
    name, entry = next(iter(run.config.evaluate.items()))
    if name in evaluated.failed:
        click.echo(f"no record of precisions: evaluate.{name} could not be asked", err=True)
        return
    count = min(count, entry.num_questions or count)
    source = run.sources[entry.data]
    try:
        record_measured(
            run.output, config_set(run.config, name, num_questions=count, source=source)
        )
    except UnsupportedModelError as error:
        click.echo(f"no record of precisions: {error}", err=True)
    except BundleFormatError as error:
        # Fewer questions than a record needs; the bundle itself was read when it was written.
        click.echo(f"no record of precisions: {error}", err=True)


def _told(run: FinishedRun, failed: Mapping[str, Exception]) -> Exception:
    for error in failed.values():
        # A mistake of ours, or memory that ran out: with its trace.
        if not isinstance(error, TokenfuseError | OSError):
            return error
    said = "; ".join(f"evaluate.{name}: {error}" for name, error in failed.items())
    return EvaluationError(
        f"{run.output} is written, but its card lacks what could not be evaluated. {said}\n"
        "Mend that and run the same command with --overwrite: what is trained stays"
    )
