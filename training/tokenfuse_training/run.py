"""A whole run of a recipe: draw the scenes, train, evaluate, write the bundle."""

from __future__ import annotations

import dataclasses
import pathlib
import platform
import time

import torch

from tokenfuse_sdk.bundle import read_bundle, write_bundle
from tokenfuse_sdk.errors import ConfigError
from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_sdk.shipped import find_bundle
from tokenfuse_training.accuracy import Accuracy
from tokenfuse_training.card import CardFacts, model_card
from tokenfuse_training.data.scenes.guessing import guess_accuracy
from tokenfuse_training.data.scenes.questions import Question
from tokenfuse_training.data.scenes.vocabulary import build_tokenizer
from tokenfuse_training.data.store import SceneStore, StoreSpec, TextTable, open_store
from tokenfuse_training.evaluate import evaluate_questions
from tokenfuse_training.missing_modality import (
    blind_recipe,
    without_pictures,
    without_questions,
)
from tokenfuse_training.model import JointModel, model_from_weights
from tokenfuse_training.progress import bar
from tokenfuse_training.publish import golden_tensors, half_precision_weights
from tokenfuse_training.recipes.recipe import Recipe
from tokenfuse_training.resume import facts_to_resume, run_identity
from tokenfuse_training.train import Trainer, TrainerOptions

__all__ = ["RunOptions", "train_recipe"]

# A scene of the test split gives 14 to 15 distinct questions.
_QUESTIONS_PER_SCENE = 12
_NUM_GOLDEN = 4
_SCENES_OF_GUESSES = 4_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Where and how long; see `tokenfuse train --help`."""

    output: pathlib.Path
    work: pathlib.Path
    start_from: str | None = None
    start_stage: str = ""
    max_minutes: float = float("inf")
    steps_scale: float = 1.0
    num_scenes: int | None = None
    num_test_questions: int = 10_000
    device: str = "cpu"
    compile: bool = False
    bf16: bool = False
    overwrite: bool = False
    blind: bool = False


def _scaled(recipe: Recipe, options: RunOptions) -> Recipe:
    stages = tuple(
        dataclasses.replace(stage, steps=max(1, round(stage.steps * options.steps_scale)))
        for stage in recipe.stages
    )
    num_scenes = options.num_scenes or recipe.num_scenes
    largest = max(stages, key=lambda stage: stage.images)
    if num_scenes < largest.images:
        raise ConfigError(
            f"--num-scenes={num_scenes}: a step of stage {largest.name!r} takes {largest.images} "
            f"different scenes; pass at least {largest.images}"
        )
    return dataclasses.replace(recipe, stages=stages, num_scenes=num_scenes)


def _spec(recipe: Recipe, split: str, num_scenes: int) -> StoreSpec:
    vision = recipe.model.vision
    return StoreSpec(
        split=split,
        num_scenes=num_scenes,
        num_questions=recipe.num_questions,
        seed=recipe.seed,
        image_size=vision.image_size,
        grid_size=vision.grid_size,
    )


def _store(spec: StoreSpec, options: RunOptions) -> SceneStore:
    with bar(f"drawing {spec.split} scenes", total=spec.num_scenes) as update:
        store = open_store(
            spec, options.work / "scenes", report=lambda done: update(completed=done)
        )
        # A store that was there already reports nothing.
        update(completed=spec.num_scenes)
        return store


def _weights_of(name: str, recipe: Recipe) -> dict[str, torch.Tensor]:
    """float32 weights of a bundle that has the recipe's shape.

    Raises:
        ConfigError: the bundle's config is not the recipe's.
    """
    bundle = read_bundle(find_bundle(name))
    if bundle.config != recipe.model:
        raise ConfigError(
            f"{name} has not the shape of the recipe {recipe.name}; start from a bundle of that "
            "recipe, or without --start-from"
        )
    return {key: torch.from_numpy(array.astype("float32")) for key, array in bundle.weights.items()}


def _trainer_options(
    options: RunOptions, directory: pathlib.Path, deadline: float
) -> TrainerOptions:
    return TrainerOptions(
        directory=directory,
        device=options.device,
        bf16=options.bf16,
        compile=options.compile,
        max_minutes=(deadline - time.monotonic()) / 60,
    )


def _run(trainer: Trainer, name: str) -> bool:
    """Train with a bar; true when the recipe is done."""
    recipe = trainer.recipe
    with bar(name, total=recipe.num_steps, completed=trainer.step) as update:

        def show(values: dict[str, float]) -> None:
            step = int(values["step"])
            text = f"{name}, {recipe.stage_at(step - 1).name}: loss {values['loss']:.3f}"
            update(completed=step, description=text)

        done = trainer.run(show)
        update(completed=trainer.step)
        return done


def _train(recipe: Recipe, options: RunOptions, deadline: float) -> Trainer | None:
    """The trained trainer, or None when the time was up first."""
    start_weights = None
    if options.start_from is not None:
        start_weights = _weights_of(options.start_from, recipe)
    start = {"start_weights": start_weights, "start_stage": options.start_stage}
    spec = _spec(recipe, "train", recipe.num_scenes)
    # Another run's folder is refused now, not after the minutes that drawing takes.
    facts_to_resume(options.work, run_identity(recipe, spec, **start))
    trainer = Trainer(
        recipe,
        recipe.model,
        _store(spec, options),
        dataclasses.replace(_trainer_options(options, options.work, deadline), **start),
    )
    return trainer if _run(trainer, "training") else None


def _test_store(recipe: Recipe, options: RunOptions) -> SceneStore:
    count = -(-options.num_test_questions // _QUESTIONS_PER_SCENE)
    return _store(_spec(recipe, "test", count), options)


def _asked(store: SceneStore, num_scenes: int) -> list[Question]:
    """Questions as the guessers want them; ids in place of words."""
    table = store.questions
    return [
        Question(
            family=table.families[table.family[scene, k]],
            text=table.text[scene, k].tobytes().hex(),
            answer=table.answer[scene, k].tobytes().hex(),
        )
        for scene in range(min(num_scenes, store.num_scenes))
        for k in range(table.text.shape[1])
    ]


def _ask(
    model: JointModel,
    store: SceneStore,
    options: RunOptions,
    name: str,
    *,
    table: TextTable | None = None,
    token_budget: int | None = None,
) -> Accuracy:
    """`evaluate_questions` with a bar."""
    table = store.questions if table is None else table
    total = min(options.num_test_questions, table.family.size)
    with bar(f"testing {name}", total=total) as update:
        accuracy = evaluate_questions(
            model,
            store,
            num_questions=options.num_test_questions,
            table=table,
            token_budget=token_budget,
            report=lambda done: update(completed=done),
        )
        # Fewer where a scene repeats a text.
        update(total=accuracy.num_questions)
        return accuracy


def _blind(
    recipe: Recipe, train: SceneStore, test: SceneStore, options: RunOptions, deadline: float
) -> list[tuple[str, float]] | None:
    """Name and accuracy of what does without the picture or without the question.

    None when the time was up first.
    """
    guessed = guess_accuracy(_asked(train, _SCENES_OF_GUESSES), _asked(test, _SCENES_OF_GUESSES))
    rows = [
        (
            "question only: the most frequent answer to the same text",
            guessed["question_only"]["all"],
        ),
        ("image only: the most frequent answer of all", guessed["image_only"]["all"]),
    ]
    if not options.blind:
        return rows
    blind = blind_recipe(recipe, options.steps_scale)
    for name, without in (("question", without_pictures), ("image", without_questions)):
        trainer = Trainer(
            blind,
            recipe.model,
            without(train),
            _trainer_options(options, options.work / f"{name}-only", deadline),
        )
        if not _run(trainer, f"{name} only"):
            return None
        accuracy = _ask(trainer.ema, without(test), options, f"{name} only")
        rows.append((f"{name} only: the same model, {trainer.step:,} steps", accuracy.overall))
    return rows


def _accuracies(model: JointModel, store: SceneStore, options: RunOptions) -> list[Accuracy]:
    return [
        _ask(model, store, options, f"N = {budget}", token_budget=budget)
        for budget in model.config.fusion.token_budgets
    ]


def train_recipe(recipe: Recipe, options: RunOptions) -> bool:
    """Train, evaluate and write the bundle; False when `max_minutes` came first."""
    deadline = time.monotonic() + 60 * options.max_minutes
    recipe = _scaled(recipe, options)
    trainer = _train(recipe, options, deadline)
    if trainer is None:
        return False
    weights = half_precision_weights(trainer.ema)
    reference = model_from_weights(recipe.model, weights)
    test = _test_store(recipe, options)
    blind = _blind(recipe, trainer.store, test, options, deadline)
    if blind is None:
        return False
    facts = CardFacts(
        recipe=recipe,
        seconds=trainer.seconds,
        first_step=trainer.first_step,
        hardware=f"{platform.machine()}, {torch.get_num_threads()} threads, {options.device}",
        torch_version=torch.__version__,
        num_parameters=sum(array.size for array in weights.values()),
        accuracies=_accuracies(reference, test, options),
        texts=_ask(reference, test, options, "long texts", table=test.descriptions),
        blind=blind,
    )
    preprocess = PreprocessConfig(image_size=recipe.model.vision.image_size)
    write_bundle(
        options.output,
        config=recipe.model,
        preprocess=preprocess,
        tokenizer_json=build_tokenizer().to_str(),
        weights=weights,
        card=model_card(facts),
        golden=golden_tensors(reference, test, preprocess, count=_NUM_GOLDEN),
        overwrite=options.overwrite,
    )
    return True
