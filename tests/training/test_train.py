"""A whole run on few scenes: drawn, trained, stopped, resumed, evaluated, shipped, answered."""

from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import tokenfuse_sdk as tf
from tokenfuse_sdk.golden import GOLDEN_BOUND, golden_error
from tokenfuse_training.cli.train import train
from tokenfuse_training.data.batches import draw_batch
from tokenfuse_training.data.store import StoreSpec, open_store
from tokenfuse_training.recipes.scenes_nano import SCENES_NANO
from tokenfuse_training.train import Trainer, TrainerOptions

SPEC = StoreSpec(split="val", num_scenes=60, num_questions=8, seed=1)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return open_store(SPEC, tmp_path_factory.mktemp("store"), num_workers=1)


def short_recipe(**changes: object):
    stages = tuple(
        dataclasses.replace(stage, steps=2, images=8, questions=min(stage.questions, 2))
        for stage in SCENES_NANO.stages
    )
    return dataclasses.replace(SCENES_NANO, stages=stages, warmup_steps=2, **changes)


def run(store, folder, recipe, **options: object) -> Trainer:
    trainer = Trainer(
        recipe, recipe.model, store, TrainerOptions(directory=folder, bf16=False, **options)
    )
    trainer.run(lambda values: None)
    return trainer


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(store, tmp_path):
    recipe = short_recipe()
    whole = run(store, tmp_path / "whole", recipe)
    assert whole.step == recipe.num_steps
    stops = 0
    while True:
        part = run(store, tmp_path / "parts", recipe, max_minutes=0.0)
        stops += 1
        if part.step == recipe.num_steps:
            break
        assert part.step == stops
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(part.model.state_dict()[name], value, rtol=0, atol=0)
    for name, value in whole.ema.state_dict().items():
        torch.testing.assert_close(part.ema.state_dict()[name], value, rtol=0, atol=0)


def test_batches_depend_on_seed_and_step_alone(store):
    stage = SCENES_NANO.stages[-1]
    stage = dataclasses.replace(stage, images=16)
    a, b = (draw_batch(store, stage, seed=3, step=7) for _ in range(2))
    torch.testing.assert_close(a.image_BHW3, b.image_BHW3, rtol=0, atol=0)
    torch.testing.assert_close(a.questions.text_QL, b.questions.text_QL, rtol=0, atol=0)
    torch.testing.assert_close(a.stones.answer_QA, b.stones.answer_QA, rtol=0, atol=0)
    c = draw_batch(store, stage, seed=3, step=8)
    assert not torch.equal(a.questions.text_QL, c.questions.text_QL)


def test_family_weights_change_what_is_asked(store):
    stage = dataclasses.replace(SCENES_NANO.stages[2], images=40, questions=2)
    counting = store.questions.families.index("counting")

    def share_asked(weights: tuple[tuple[str, float], ...]) -> float:
        """Of the counting questions that two draws a scene can ask, the share that is asked."""
        weighted = dataclasses.replace(stage, family_weights=weights)
        asked = possible = 0
        for step in range(20):
            batch = draw_batch(store, weighted, seed=3, step=step)
            asked += int((batch.questions.family_Q == counting).sum())
            held = (store.questions.family[batch.scene_B] == counting).sum(axis=1)
            possible += int(np.minimum(held, 2).sum())
        return asked / possible

    # With weight w, one counting question among seven others is missed by two draws with
    # probability 7/(7+w) * 6/(6+w): 2% for w = 50, 75% for w = 1.
    assert share_asked((("counting", 50.0),)) > 0.9
    assert share_asked(()) < 0.5


def test_a_frozen_stage_keeps_the_image_side(store, tmp_path):
    recipe = short_recipe()
    index = next(i for i, stage in enumerate(recipe.stages) if stage.frozen_image)
    recipe = dataclasses.replace(recipe, stages=recipe.stages[index : index + 1])
    trainer = Trainer(recipe, recipe.model, store, TrainerOptions(directory=tmp_path, bf16=False))
    before = copy.deepcopy(trainer.model.state_dict())
    for _ in range(recipe.num_steps):
        trainer.train_step()
    after = trainer.model.state_dict()
    image_side = ("vision.", "image_projection.", "fusion.image_resampler.")
    for name, value in before.items():
        same = torch.equal(value, after[name])
        if name.startswith(image_side):
            assert same, name
        elif value.ndim >= 2:
            assert not same, name
    # What it learned from is what the model says of these pictures.
    batch = draw_batch(store, recipe.stages[0], seed=recipe.seed, step=0)
    with torch.no_grad():
        f_BND = trainer.model.encode_image(batch.image_BHW3, 4)
    kept = trainer._frozen_tokens()[batch.scene_B, :4]
    np.testing.assert_allclose(kept.astype(np.float32), f_BND.numpy(), rtol=2e-3, atol=2e-3)


def test_dense_labels_and_a_frozen_image_side_exclude_each_other():
    with pytest.raises(ValueError, match="set one of them"):
        dataclasses.replace(SCENES_NANO.stages[0], frozen_image=True)


def test_a_run_begins_with_the_weights_it_is_given(store, tmp_path):
    recipe = short_recipe()
    first = run(store, tmp_path / "first", recipe, max_minutes=0.0)
    weights = {name: value.clone() for name, value in first.ema.state_dict().items()}
    options = TrainerOptions(
        directory=tmp_path / "next", bf16=False, start_weights=weights, start_stage="answer"
    )
    trainer = Trainer(recipe, recipe.model, store, options)
    assert trainer.step == recipe.first_step_of("answer") > 0
    for name, value in trainer.model.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=0)
    # It warms up anew, while a run that came all the way is long warm.
    began = trainer.step
    assert recipe.learning_rate_at(began, began) == recipe.learning_rate / recipe.warmup_steps
    assert recipe.learning_rate_at(began) == recipe.learning_rate


def test_what_stood_still_warms_up_again():
    recipe = short_recipe()
    whole = recipe.first_step_of("whole")
    assert recipe.stage_at(whole - 1).frozen_image
    assert recipe.learning_rate_at(whole - 1) == recipe.learning_rate
    assert recipe.learning_rate_at(whole) == recipe.learning_rate / recipe.warmup_steps


def test_the_loss_falls(store, tmp_path):
    recipe = short_recipe()
    stage = dataclasses.replace(recipe.stages[1], steps=40, images=32)
    recipe = dataclasses.replace(recipe, stages=(stage,))
    trainer = Trainer(recipe, recipe.model, store, TrainerOptions(directory=tmp_path, bf16=False))
    losses = [trainer.train_step()["loss"] for _ in range(40)]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_the_command_trains_and_ships_a_model_that_the_sdk_loads(tmp_path):
    output = tmp_path / "tiny-run"
    arguments = [
        "scenes-nano",
        "-o",
        str(output),
        "--steps-scale",
        "0.001",
        "--num-scenes",
        "200",
        "--num-test-questions",
        "24",
        "--no-bf16",
    ]
    done = CliRunner().invoke(train, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    with tf.load(output) as model:
        answer = model.answer(tf.example_images()[0], "is there a star?")
        assert answer.token_budget == 16
        card = model.card
        error = golden_error(tf.bundle.read_bundle(output), model._runtime)
    assert error < GOLDEN_BOUND
    for word in ("seed", "existence", "two hop", "caption", "N = 4", "N = 16", "Blind"):
        assert word in card, word
    assert json.loads((output / "config.json").read_text())["name"] == "scenes-nano"
    again = CliRunner().invoke(train, arguments)
    assert again.exit_code != 0
    assert "exists" in str(again.exception)


def test_an_unknown_recipe_is_named(tmp_path):
    done = CliRunner().invoke(train, ["none", "-o", str(tmp_path / "x")])
    assert "choose one of scenes-nano" in str(done.exception)
