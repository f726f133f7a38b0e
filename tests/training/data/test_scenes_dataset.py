"""Built splits: what they hold."""

from __future__ import annotations

import numpy as np
import pytest

from tokenfuse_training.data.scenes import build_split, scene_examples


def small(**more):
    return build_split("val", 12, 5, seed=7, **more)


def test_rows_are_the_single_scenes():
    data = small()
    assert data.images_NHWC.shape == (12, 64, 64, 3) and data.images_NHWC.dtype == np.uint8
    for i in range(12):
        example = scene_examples("val", i, seed=7, num_questions=5)
        np.testing.assert_array_equal(data.images_NHWC[i], example.image_HWC)
        rows = [(r.family, r.text, r.answer) for r in data.questions if r.scene_index == i]
        assert rows == [(q.family, q.text, q.answer) for q in example.questions]


def test_another_range_continues_the_first():
    data, tail = small(), build_split("val", 4, 5, seed=7, first_index=8)
    np.testing.assert_array_equal(data.images_NHWC[8:], tail.images_NHWC)
    texts = [row.text for row in data.questions if row.scene_index >= 8]
    assert [row.text for row in tail.questions] == texts


def test_images_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        small().images_NHWC[0] = 0
