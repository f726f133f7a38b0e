"""The trainer on few scenes: stopped, resumed, frozen in part, begun with given weights."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

from tokenfuse_training.data.batches import normalise
from tokenfuse_training.frozen import merged_tokens
from tokenfuse_training.train import Trainer, TrainerOptions


def run(store, folder, recipe, **options: object) -> Trainer:
    trainer = Trainer(recipe, recipe.model, store, TrainerOptions(directory=folder, **options))
    trainer.run(lambda values: None)
    return trainer


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(store, trial, tmp_path):
    whole = run(store, tmp_path / "whole", trial)
    assert whole.step == trial.num_steps
    stops = 0
    while True:
        part = run(store, tmp_path / "parts", trial, max_minutes=0.0)
        stops += 1
        if part.step == trial.num_steps:
            break
        assert part.step == stops
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(part.model.state_dict()[name], value, rtol=0, atol=0)
    for name, value in whole.ema.state_dict().items():
        torch.testing.assert_close(part.ema.state_dict()[name], value, rtol=0, atol=0)


def test_a_frozen_stage_keeps_the_image_side(store, trial, stage_of, tmp_path):
    recipe = dataclasses.replace(trial, stages=(stage_of("still"),))
    trainer = Trainer(recipe, recipe.model, store, TrainerOptions(directory=tmp_path))
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
    with torch.no_grad():
        f_BND = trainer.model.encode_image(normalise(store.images_u8[:8]), 4)
    kept = trainer._frozen_tokens()[:8, :4]
    np.testing.assert_allclose(kept.astype(np.float32), f_BND.numpy(), rtol=2e-3, atol=2e-3)


def test_merged_tokens_of_another_precision_are_not_taken_from_the_cache(store, trial, tmp_path):
    model = Trainer(trial, trial.model, store, TrainerOptions(directory=tmp_path)).ema
    whole = np.array(merged_tokens(model, store, tmp_path, bf16=False))
    rounded = np.array(merged_tokens(model, store, tmp_path, bf16=True))
    assert not np.array_equal(whole, rounded)
    again = merged_tokens(model, store, tmp_path, bf16=False)
    np.testing.assert_array_equal(again, whole)


def test_dense_labels_and_a_frozen_image_side_exclude_each_other(stage_of):
    with pytest.raises(ValueError, match="set one of them"):
        dataclasses.replace(stage_of("labels"), frozen_image=True)


def test_a_run_begins_with_the_weights_it_is_given(store, trial, tmp_path):
    first = run(store, tmp_path / "first", trial, max_minutes=0.0)
    weights = {name: value.clone() for name, value in first.ema.state_dict().items()}
    options = TrainerOptions(
        directory=tmp_path / "next", start_weights=weights, start_stage="questions"
    )
    trainer = Trainer(trial, trial.model, store, options)
    assert trainer.step == trial.first_step_of("questions") > 0
    for name, value in trainer.model.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=0)
    # It warms up anew, while a run that came all the way is long warm.
    began = trainer.step
    assert trial.learning_rate_at(began, began) == trial.learning_rate / trial.warmup_steps
    assert trial.learning_rate_at(began) == trial.learning_rate


def test_what_stood_still_warms_up_again(trial):
    joined = trial.first_step_of("all")
    assert trial.stage_at(joined - 1).frozen_image
    assert trial.learning_rate_at(joined - 1) == trial.learning_rate
    assert trial.learning_rate_at(joined) == trial.learning_rate / trial.warmup_steps


def test_the_loss_falls(store, trial, stage_of, tmp_path):
    stage = dataclasses.replace(stage_of("texts"), steps=40, images=32)
    recipe = dataclasses.replace(trial, stages=(stage,))
    trainer = Trainer(recipe, recipe.model, store, TrainerOptions(directory=tmp_path))
    losses = [trainer.train_step()["loss"] for _ in range(40)]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
