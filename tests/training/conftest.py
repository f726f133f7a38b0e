"""A recipe of every kind of stage, and a few scenes: nothing of the shipped recipe."""

from __future__ import annotations

import dataclasses
import pathlib
import sys

import pytest

from tokenfuse_sdk.sizes import named_config
from tokenfuse_training.data.scenes.vocabulary import words
from tokenfuse_training.data.store import StoreSpec, open_store
from tokenfuse_training.recipes.recipe import Recipe, Stage

_HERE = str(pathlib.Path(__file__).parent)
if _HERE not in sys.path:
    # For published_files.py.
    sys.path.append(_HERE)

SPEC = StoreSpec(split="val", num_scenes=60, num_questions=8, seed=1)


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    return open_store(SPEC, tmp_path_factory.mktemp("store"), num_workers=1)


@pytest.fixture(scope="session")
def trial():
    nano = named_config("nano")
    vocabulary = dataclasses.replace(nano.text, vocab_size=len(words()))
    common = {"steps": 2, "images": 8}
    stages = (
        Stage(name="labels", questions=0, descriptions=0, dense_weight=1.0, **common),
        Stage(name="texts", questions=0, descriptions=3, dense_weight=0.5, **common),
        Stage(
            name="questions",
            questions=2,
            descriptions=1,
            dense_weight=0.2,
            description_weight=0.5,
            family_weights=(("counting", 2.0),),
            **common,
        ),
        Stage(
            name="still",
            questions=2,
            descriptions=0,
            stones=3,
            dense_weight=0.0,
            word_order_weight=0.3,
            frozen_image=True,
            budget_weights=(0.6, 0.2, 0.2),
            **common,
        ),
        Stage(name="all", questions=2, descriptions=1, stones=1, dense_weight=0.2, **common),
    )
    return Recipe(
        name="trial",
        model=dataclasses.replace(nano, name="trial", text=vocabulary),
        seed=11,
        num_scenes=SPEC.num_scenes,
        num_questions=SPEC.num_questions,
        stages=stages,
        learning_rate=1e-3,
        warmup_steps=2,
        decay_fraction=0.1,
        weight_decay=0.05,
        max_grad_norm=1.0,
        budget_weights=(0.2, 0.3, 0.5),
        ema_decay=0.99,
    )


@pytest.fixture(scope="session")
def stage_of(trial):
    """A stage of the trial recipe by its name."""
    return {stage.name: stage for stage in trial.stages}.__getitem__
