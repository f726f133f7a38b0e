"""A folder goes on with its own run alone: another recipe, scenes or beginning is refused."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.checkpoint import load_checkpoint, save_checkpoint
from tokenfuse_training.train import Trainer, TrainerOptions


def open_run(store, recipe, folder, **options: object) -> Trainer:
    return Trainer(recipe, recipe.model, store, TrainerOptions(directory=folder, **options))


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def with_longer_stages(trial):
    stages = tuple(dataclasses.replace(stage, steps=3) for stage in trial.stages)
    return dataclasses.replace(trial, stages=stages)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda trial: dataclasses.replace(trial, seed=12), "seed (11 there, 12 asked for)"),
        (lambda trial: dataclasses.replace(trial, name="other"), "name (trial there, other"),
        (with_longer_stages, "num_steps (10 there, 15 asked for), stages"),
    ],
)
def test_another_recipe_is_refused(store, trial, tmp_path, change, said):
    open_run(store, trial, tmp_path).save()
    with pytest.raises(ConfigError, match=re.escape(said)) as refused:
        open_run(store, change(trial), tmp_path)
    for word in ("step 0 of another run", "--work", "delete", "state.safetensors"):
        assert word in str(refused.value), word


def test_other_scenes_are_refused(store, trial, tmp_path):
    open_run(store, trial, tmp_path).save()
    fewer = dataclasses.replace(store, spec=dataclasses.replace(store.spec, num_scenes=59))
    with pytest.raises(ConfigError, match=r"scenes \(.*-60x8-.* there, .*-59x8-.* asked for\)"):
        open_run(fewer, trial, tmp_path)


def test_other_first_weights_are_refused_and_the_same_go_on(store, trial, tmp_path):
    scratch = open_run(store, trial, tmp_path / "scratch")
    scratch.save()
    weights = weights_of(scratch)
    start = {"start_weights": weights, "start_stage": "questions"}
    with pytest.raises(ConfigError, match="start_weights"):
        open_run(store, trial, tmp_path / "scratch", **start)

    begun = open_run(store, trial, tmp_path / "begun", **start)
    begun.train_step()
    begun.save()
    again = open_run(store, trial, tmp_path / "begun", **start)
    assert (again.step, again.first_step) == (begun.step, begun.first_step) == (5, 4)
    for name, value in again.model.state_dict().items():
        torch.testing.assert_close(value, begun.model.state_dict()[name], rtol=0, atol=0)

    other = {name: value + 1 for name, value in weights.items()}
    for changed in (
        {},
        start | {"start_weights": other},
        start | {"start_stage": "all"},
    ):
        with pytest.raises(ConfigError, match=r"start_weights|first_step"):
            open_run(store, trial, tmp_path / "begun", **changed)


def test_a_checkpoint_that_does_not_say_its_run_is_refused(store, trial, tmp_path):
    trainer = open_run(store, trial, tmp_path)
    save_checkpoint(
        tmp_path,
        step=0,
        modules=trainer._modules(),
        optimizer=trainer.optimizer,
        facts={"seconds": 0.0, "recipe": "trial", "seed": 11},
    )
    with pytest.raises(ConfigError, match="does not say which run it belongs to"):
        open_run(store, trial, tmp_path)


def test_tensors_that_do_not_fit_are_refused_with_a_typed_error(store, trial, tmp_path):
    small, large = torch.nn.Linear(2, 3), torch.nn.Linear(2, 4)
    optimizer = torch.optim.AdamW(small.parameters())
    save_checkpoint(tmp_path, step=1, modules={"model": small}, optimizer=optimizer, facts={})
    with pytest.raises(ConfigError, match=r"state\.safetensors, model, holds weights of another"):
        load_checkpoint(tmp_path, modules={"model": large}, optimizer=None)
    weights = {"nothing.weight": torch.zeros(1)}
    with pytest.raises(ConfigError, match="start_weights holds weights of another"):
        open_run(store, trial, tmp_path / "x", start_weights=weights, start_stage="all")
