"""The runs of an experiment, one after another: each once, resumable at any step."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from common_start import Trained, common_beginning, seen_encoder, train
from results import Results

from tokenfuse_training.config.config_file import config_yaml, read_config
from tokenfuse_training.config.train_config import TrainConfig
from tokenfuse_training.data.source import Source
from tokenfuse_training.sources import open_sources, with_scenes_in
from tokenfuse_training.start import Beginning, begin

__all__ = ["Experiment", "Run", "Variant", "arguments", "config_of", "open_results", "run_all"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What is compared.

    Args:
        name: in the results.
        sets: values of the config, as `--set` has them.
    """

    name: str
    sets: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A variant with a seed, trained.

    Args:
        config: of the run, its second stage alone.
        beginning: what it began with; `model` is the trained one, not averaged.
        sources: all data sets.
        directory: of its checkpoints and log.
        trained: the averaged weights.
    """

    config: TrainConfig
    beginning: Beginning
    sources: Mapping[str, Source]
    directory: pathlib.Path
    trained: Trained


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What is asked.

    Args:
        name: of the results.
        config: the YAML file beside the script.
        variants: all of them.
        measure: from a run to what is kept of it, as JSON.
    """

    name: str
    config: str
    variants: Sequence[Variant]
    measure: Callable[[Run], dict[str, Any]]


def arguments(question: str) -> argparse.ArgumentParser:
    """The options of every experiment."""
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--machine", required=True, help="names the hardware in the results")
    parser.add_argument("--work", type=pathlib.Path, required=True, help="keeps scenes and runs")
    parser.add_argument("--seeds", default="0,1,2", help="numbers with commas between them")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop then")
    parser.add_argument("--only", default="", help="names of variants, with commas between them")
    parser.add_argument("--num-threads", type=int, default=1)
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--results", type=pathlib.Path, help="another folder for the results")
    return parser


def config_of(file: str, sets: Sequence[str], work: pathlib.Path | None = None) -> TrainConfig:
    """The config of a file beside this one; with `work`, scenes are kept there."""
    config = read_config(pathlib.Path(__file__).with_name(file), sets)
    return config if work is None else with_scenes_in(config, work)


def open_results(experiment: Experiment, options: argparse.Namespace) -> Results:
    """The experiment's file for these settings."""
    setting = config_yaml(config_of(experiment.config, options.sets))
    more = {} if options.results is None else {"folder": options.results}
    return Results(experiment.name, options.machine, setting, options.num_threads, **more)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class _TimeUpError(Exception):
    """The same command goes on."""


def run_all(experiment: Experiment, options: argparse.Namespace) -> Results:
    """All variants with the first seed, then with the next; what is done is passed over."""
    torch.set_num_threads(options.num_threads)
    results = open_results(experiment, options)
    wanted = [name for name in options.only.split(",") if name]
    variants = [one for one in experiment.variants if not wanted or one.name in wanted]
    missing = [
        (variant, seed)
        for seed in map(int, options.seeds.split(","))
        for variant in variants
        if _name(variant, seed) not in results.get("runs")
    ]
    if missing:
        try:
            _run_missing(experiment, options, missing, results)
        except _TimeUpError:
            _say("the time is up; the same command goes on")
    return results


def _name(variant: Variant, seed: int) -> str:
    return f"{variant.name}, seed {seed}"


def _run_missing(
    experiment: Experiment,
    options: argparse.Namespace,
    missing: Sequence[tuple[Variant, int]],
    results: Results,
) -> None:
    deadline = time.monotonic() + 60 * options.minutes

    def left() -> float:
        return (deadline - time.monotonic()) / 60

    base = config_of(experiment.config, options.sets, options.work)
    sources = open_sources(base, base.data, vision=begin(base).model_config.vision)
    work = options.work / experiment.name
    encoder = seen_encoder(base, sources, work, max_minutes=left(), report=_line)
    if encoder is None:
        raise _TimeUpError
    for variant, seed in missing:
        if left() <= 0:
            raise _TimeUpError
        name = _name(variant, seed)
        config = config_of(experiment.config, [*options.sets, *variant.sets], options.work)
        config = dataclasses.replace(config, seed=seed, stages=config.stages[1:])
        beginning = common_beginning(config, dataclasses.replace(base, seed=seed), encoder)
        directory = work / name.replace(" ", "")
        _say(f"{name}:")
        trained = train(config, beginning, sources, directory, max_minutes=left(), report=_line)
        if trained is None:
            raise _TimeUpError
        run = Run(
            config=config,
            beginning=beginning,
            sources=sources,
            directory=directory,
            trained=trained,
        )
        facts = {"variant": variant.name, "seed": seed} | _facts(run)
        results.add("runs", name, facts | experiment.measure(run))
        # What is kept of it is in the results now.
        shutil.rmtree(directory)


def _facts(run: Run) -> dict[str, Any]:
    model = run.beginning.model
    return {
        "seconds": round(run.trained.seconds, 1),
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "num_fusion_parameters": sum(p.numel() for p in model.fusion.parameters()),
    }


def _line(values: Mapping[str, Any]) -> None:
    _say(f"  {values['stage']}, step {values['step']}: loss {values['loss']:.3f}")
