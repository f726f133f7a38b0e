"""A whole run of a recipe: draw the scenes, train, evaluate, write the bundle."""

from __future__ import annotations

import dataclasses
import pathlib
import platform

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tokenfuse_sdk.bundle import write_bundle
from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_training.accuracy import Accuracy
from tokenfuse_training.card import CardFacts, model_card
from tokenfuse_training.data.scenes.vocabulary import build_tokenizer
from tokenfuse_training.data.store import SceneStore, StoreSpec, open_store
from tokenfuse_training.evaluate import evaluate_questions
from tokenfuse_training.publish import golden_tensors, half_precision_weights, model_from_weights
from tokenfuse_training.recipes.recipe import Recipe
from tokenfuse_training.train import Trainer, TrainerOptions

__all__ = ["RunOptions", "train_recipe"]

# A scene of the test split gives 14 to 15 distinct questions.
_QUESTIONS_PER_SCENE = 12
_NUM_GOLDEN = 4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Where and how long; see `tokenfuse train --help`."""

    output: pathlib.Path
    work: pathlib.Path
    max_minutes: float | None = None
    steps_scale: float = 1.0
    num_scenes: int | None = None
    num_test_questions: int = 10_000
    device: str = "cpu"
    compile: bool = False
    bf16: bool = True
    overwrite: bool = False


def _scaled(recipe: Recipe, options: RunOptions) -> Recipe:
    stages = tuple(
        dataclasses.replace(stage, steps=max(1, round(stage.steps * options.steps_scale)))
        for stage in recipe.stages
    )
    num_scenes = options.num_scenes or recipe.num_scenes
    return dataclasses.replace(recipe, stages=stages, num_scenes=num_scenes)


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True))


def _store(recipe: Recipe, split: str, num_scenes: int, options: RunOptions) -> SceneStore:
    vision = recipe.model.vision
    spec = StoreSpec(
        split=split,
        num_scenes=num_scenes,
        num_questions=recipe.num_questions,
        seed=recipe.seed,
        image_size=vision.image_size,
        grid_size=vision.grid_size,
    )
    with _progress() as progress:
        task = progress.add_task(f"drawing {split} scenes", total=num_scenes)
        return open_store(
            spec,
            options.work / "scenes",
            report=lambda done: progress.update(task, completed=done),
        )


def _train(recipe: Recipe, options: RunOptions) -> Trainer | None:
    """The trained trainer, or None when the time was up first."""
    store = _store(recipe, "train", recipe.num_scenes, options)
    trainer = Trainer(
        recipe,
        recipe.model,
        store,
        TrainerOptions(
            directory=options.work,
            device=options.device,
            bf16=options.bf16,
            compile=options.compile,
            max_minutes=float("inf") if options.max_minutes is None else options.max_minutes,
        ),
    )
    with _progress() as progress:
        task = progress.add_task("training", total=recipe.num_steps, completed=trainer.step)

        def show(values: dict[str, float]) -> None:
            stage = recipe.stage_at(int(values["step"]) - 1).name
            accuracy = values.get("question_acc", values.get("description_acc"))
            shown = "" if accuracy is None else f", {100 * accuracy:.1f}% right"
            text = f"{stage}: loss {values['loss']:.3f}{shown}"
            progress.update(task, completed=int(values["step"]), description=text)

        return trainer if trainer.run(show) else None


def _accuracies(recipe: Recipe, trainer: Trainer, options: RunOptions) -> list[Accuracy]:
    count = -(-options.num_test_questions // _QUESTIONS_PER_SCENE)
    store = _store(recipe, "test", count, options)
    weights = half_precision_weights(trainer.ema)
    model = model_from_weights(recipe.model, weights)
    return [
        evaluate_questions(
            model, store, num_questions=options.num_test_questions, token_budget=budget
        )
        for budget in recipe.model.fusion.token_budgets
    ]


def train_recipe(recipe: Recipe, options: RunOptions) -> bool:
    """Train, evaluate and write the bundle; False when `max_minutes` came first."""
    recipe = _scaled(recipe, options)
    trainer = _train(recipe, options)
    if trainer is None:
        return False
    weights = half_precision_weights(trainer.ema)
    reference = model_from_weights(recipe.model, weights)
    facts = CardFacts(
        recipe=recipe,
        seconds=trainer.seconds,
        hardware=f"{platform.machine()}, {torch.get_num_threads()} threads, {options.device}",
        torch_version=torch.__version__,
        num_parameters=sum(array.size for array in weights.values()),
        accuracies=_accuracies(recipe, trainer, options),
    )
    write_bundle(
        options.output,
        config=recipe.model,
        preprocess=PreprocessConfig(image_size=recipe.model.vision.image_size),
        tokenizer_json=build_tokenizer().to_str(),
        weights=weights,
        card=model_card(facts),
        golden=golden_tensors(reference, trainer.store, count=_NUM_GOLDEN),
        overwrite=options.overwrite,
    )
    return True
