"""`scenes-nano`: the shipped model, made for two CPU cores.

Questions alone are too weak a signal from scratch. So the image encoder first
learns each patch's colour and kind, then the whole model learns to describe a
scene in full, which makes the merged tokens carry every object, and only then
questions join.
"""

from __future__ import annotations

import dataclasses

from tokenfuse_sdk.sizes import named_config
from tokenfuse_training.data.scenes.vocabulary import words
from tokenfuse_training.recipes.recipe import Recipe, Stage

__all__ = ["SCENES_NANO"]

_NANO = named_config("nano")

SCENES_NANO = Recipe(
    name="scenes-nano",
    model=dataclasses.replace(
        _NANO,
        name="scenes-nano",
        text=dataclasses.replace(_NANO.text, vocab_size=len(words())),
    ),
    seed=2305,
    num_scenes=80_000,
    num_questions=16,
    stages=(
        Stage(name="patches", steps=800, images=128, questions=0, descriptions=0, dense_weight=1.0),
        Stage(
            name="describe", steps=2_000, images=64, questions=0, descriptions=3, dense_weight=0.5
        ),
        # Rare words of a question's answer are learned fast; yes and no say one bit. So the
        # families join in two steps, and those that still fail get most of the questions.
        Stage(
            name="answer",
            steps=4209,
            images=64,
            questions=6,
            descriptions=1,
            dense_weight=0.2,
            description_weight=0.5,
            family_weights=(
                ("existence", 2.0),
                ("comparison", 2.0),
                ("spatial", 2.0),
                ("counting", 1.5),
                ("color", 1.5),
                ("shape", 0.5),
                ("two_hop", 0.5),
            ),
        ),
        Stage(
            name="relate",
            steps=2735,
            images=64,
            questions=6,
            descriptions=1,
            dense_weight=0.2,
            description_weight=0.5,
            family_weights=(
                ("comparison", 4.0),
                ("spatial", 4.0),
                ("two_hop", 1.5),
                ("shape", 0.25),
            ),
        ),
        # More of the same did not help them: what they are made of does. The picture's tokens
        # hold all that is asked, so only what comes behind them learns, at the smallest budget
        # most of the time: three times the questions in the same time.
        Stage(
            name="stones",
            steps=1_480,
            images=128,
            questions=3,
            descriptions=0,
            stones=3,
            dense_weight=0.0,
            family_weights=(
                ("comparison", 4.0),
                ("spatial", 4.0),
                ("two_hop", 1.5),
                ("shape", 0.5),
            ),
            frozen_image=True,
            budget_weights=(0.6, 0.2, 0.2),
        ),
        # Which way one object lies from another needs where each is, and the merged tokens
        # did not tell: so the image side learns again, and is asked for it.
        Stage(
            name="spots",
            steps=700,
            images=96,
            questions=2,
            descriptions=0,
            stones=4,
            dense_weight=0.1,
            family_weights=(
                ("comparison", 2.0),
                ("spatial", 4.0),
                ("shape", 0.5),
            ),
            budget_weights=(0.35, 0.25, 0.4),
        ),
        Stage(
            name="order",
            steps=1_859,
            images=128,
            questions=3,
            descriptions=0,
            stones=3,
            dense_weight=0.0,
            word_order_weight=0.3,
            family_weights=(("comparison", 2.0), ("spatial", 4.0), ("shape", 0.5)),
            frozen_image=True,
            budget_weights=(0.5, 0.2, 0.3),
        ),
        # All of it together, at every budget. The frozen stages forgot long texts, and these are
        # the hardest to write in full: so they come often.
        Stage(
            name="whole",
            steps=2_000,
            images=64,
            questions=4,
            descriptions=3,
            stones=1,
            dense_weight=0.2,
            word_order_weight=0.2,
            family_weights=(("comparison", 3.0), ("spatial", 3.0), ("shape", 0.5)),
        ),
    ),
    learning_rate=1e-3,
    warmup_steps=200,
    decay_fraction=0.0655,
    weight_decay=0.05,
    max_grad_norm=1.0,
    budget_weights=(0.2, 0.25, 0.55),
    ema_decay=0.995,
)
