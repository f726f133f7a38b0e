"""Built splits: contents, saving and loading."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tokenfuse_training.data.scenes import build_split, load_split, save_split, scene_examples
from tokenfuse_training.data.scenes import dataset as dataset_module


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


def test_saved_and_loaded_is_equal_and_memory_mapped(tmp_path):
    data = small(size=32)
    save_split(data, tmp_path / "deep" / "val")
    again = load_split(tmp_path / "deep" / "val")
    assert isinstance(again.images_NHWC, np.memmap)
    np.testing.assert_array_equal(again.images_NHWC, data.images_NHWC)
    assert again.questions == data.questions
    assert (again.split, again.seed, again.first_index) == ("val", 7, 0)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["val"]


def test_an_existing_folder_is_not_overwritten(tmp_path):
    (tmp_path / "val").mkdir()
    with pytest.raises(FileExistsError, match="exists already"):
        save_split(small(), tmp_path / "val")
    assert not any((tmp_path / "val").iterdir())


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(dataset_module.json, "dumps", full)
    with pytest.raises(OSError, match="no space"):
        save_split(small(), tmp_path / "val")
    assert not any(tmp_path.iterdir())


def test_an_unknown_format_is_refused(tmp_path):
    save_split(small(), tmp_path / "val")
    about = json.loads((tmp_path / "val" / "about.json").read_text())
    (tmp_path / "val" / "about.json").write_text(json.dumps({**about, "format": 99}))
    with pytest.raises(ValueError, match="format 99"):
        load_split(tmp_path / "val")
