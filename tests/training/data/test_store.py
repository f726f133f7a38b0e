"""A store holds the scenes and questions that every other user of the generator gets."""

from __future__ import annotations

import numpy as np

from tokenfuse_training.data.scenes import build_tokenizer, render, sample_scene, scene_questions
from tokenfuse_training.data.store import StoreSpec, open_store

# More questions than a scene of one object has: then they begin again.
SPEC = StoreSpec(split="val", num_scenes=10, num_questions=40, seed=1)


def test_pictures_and_questions_are_those_of_the_scene(tmp_path):
    spec, store, tokenizer = SPEC, open_store(SPEC, tmp_path, num_workers=1), build_tokenizer()
    table = store.questions
    repeated = 0
    for index in range(spec.num_scenes):
        scene = sample_scene(spec.split, index, seed=spec.seed)
        np.testing.assert_array_equal(store.images_u8[index], render(scene, spec.image_size))
        asked = scene_questions(
            scene, spec.split, index, seed=spec.seed, num_questions=spec.num_questions
        )
        repeated += spec.num_questions - len(asked)
        for k in range(spec.num_questions):
            question = asked[k % len(asked)]
            for row, text in (
                (table.text[index, k], f"answer: {question.text}"),
                (table.answer[index, k], question.answer),
            ):
                ids = [*tokenizer.encode(text).ids, 1]
                assert row.tolist() == ids + [0] * (len(row) - len(ids))
            assert table.families[table.family[index, k]] == question.family
    assert repeated > 0
