"""Learned baselines that miss a modality: what the data gives away without looking or reading.

They are the same model and questions; the picture is mid-grey, or every
question is the bare word of the task. They must fail.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tokenfuse_training.data.scenes.vocabulary import build_tokenizer
from tokenfuse_training.data.store import SceneStore
from tokenfuse_training.recipes.recipe import Recipe, Stage

__all__ = ["BLIND_STEPS", "blind_recipe", "without_pictures", "without_questions"]

BLIND_STEPS = 1_500


def without_pictures(store: SceneStore) -> SceneStore:
    """The same texts on grey pictures: a question-only baseline."""
    # One grey picture seen n times: takes no memory.
    grey = np.full((1, *store.images_u8.shape[1:]), 128, dtype=np.uint8)
    images = np.broadcast_to(grey, store.images_u8.shape)
    return dataclasses.replace(store, images_u8=images)


def without_questions(store: SceneStore) -> SceneStore:
    """The same pictures and answers, every question the bare `answer:`: image-only."""
    ids = [*build_tokenizer().encode("answer:").ids, 1]
    text = np.zeros((1, 1, store.questions.text.shape[2]), dtype=np.uint8)
    text[0, 0, : len(ids)] = ids
    table = dataclasses.replace(
        store.questions, text=np.broadcast_to(text, store.questions.text.shape)
    )
    return dataclasses.replace(store, questions=table)


def blind_recipe(recipe: Recipe, steps_scale: float = 1.0) -> Recipe:
    """Questions alone, for `BLIND_STEPS` steps."""
    last = recipe.stages[-1]
    stage = Stage(
        name="blind",
        steps=max(1, round(BLIND_STEPS * steps_scale)),
        images=last.images,
        questions=last.questions,
        descriptions=0,
        dense_weight=0.0,
    )
    return dataclasses.replace(recipe, name=f"{recipe.name}-blind", stages=(stage,))
