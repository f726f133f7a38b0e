"""Batches: what a step draws, and its pictures as an application's."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from tokenfuse_sdk.preprocess import PreprocessConfig, preprocess
from tokenfuse_training.data.batches import draw_batch, normalise


def test_pictures_are_normalised_as_in_use():
    # Every value in every channel, in another order each.
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = np.stack([values, values.T, values[::-1]], axis=-1)
    images_BHW3 = np.stack([image, image[::-1]])
    images_BHW3.setflags(write=False)
    expected = [preprocess(one, PreprocessConfig(image_size=16)) for one in images_BHW3]
    ours = normalise(images_BHW3)
    assert ours.dtype == torch.float32
    np.testing.assert_array_equal(ours.numpy(), np.stack(expected))


def test_batches_depend_on_seed_and_step_alone(store, stage_of):
    stage = dataclasses.replace(stage_of("all"), images=16)
    a, b = (draw_batch(store, stage, seed=3, step=7) for _ in range(2))
    torch.testing.assert_close(a.image_BHW3, b.image_BHW3, rtol=0, atol=0)
    torch.testing.assert_close(a.questions.text_QL, b.questions.text_QL, rtol=0, atol=0)
    torch.testing.assert_close(a.stones.answer_QA, b.stones.answer_QA, rtol=0, atol=0)
    c = draw_batch(store, stage, seed=3, step=8)
    assert not torch.equal(a.questions.text_QL, c.questions.text_QL)


def test_family_weights_change_what_is_asked(store, stage_of):
    stage = dataclasses.replace(stage_of("questions"), images=40, questions=2)
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


def test_a_frozen_stage_draws_no_pictures(store, stage_of):
    batch = draw_batch(store, stage_of("still"), seed=3, step=0)
    assert batch.image_BHW3 is None
    assert batch.scene_B.shape == (8,)
