"""Scenes as a data set: the records hold what every other user of the generator gets."""

from __future__ import annotations

import dataclasses
import multiprocessing
import pathlib
import pickle
import re
import resource

import numpy as np
import pytest

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_sdk.sizes import named_config
from tokenfuse_training.config.data_settings import ScenesData
from tokenfuse_training.data.record import Answer
from tokenfuse_training.data.scenes import (
    caption,
    patch_labels,
    render,
    sample_scene,
    scene_questions,
)
from tokenfuse_training.data.scenes import store as store_module
from tokenfuse_training.data.scenes.source import open_scenes
from tokenfuse_training.data.scenes.store import StoreSpec, open_store
from tokenfuse_training.errors import DataError

VISION = named_config("nano").vision


def settings(root: pathlib.Path, **more: object) -> ScenesData:
    given = {"split": "val", "num_scenes": 12, "num_questions": 40, "seed": 1, **more}
    return ScenesData(root=str(root), **given)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return open_scenes(settings(tmp_path_factory.mktemp("scenes")), VISION)


def test_records_are_those_of_the_scenes(source):
    assert len(source) == 12
    for index in range(12):
        record = source.record(index)
        scene = sample_scene("val", index, seed=1)
        labels = patch_labels(scene, VISION.grid_size)
        np.testing.assert_array_equal(record.image, render(scene, 64))
        np.testing.assert_array_equal(record.patch_color, labels.color_GG.reshape(-1))
        np.testing.assert_array_equal(record.patch_kind, labels.kind_GG.reshape(-1))
        assert record.captions == (caption(scene),)
        asked = scene_questions(scene, "val", index, seed=1, num_questions=40)
        found = [(q.kind, q.text, q.answers) for q in record.questions]
        assert found == [(q.family, q.text, (Answer(text=q.answer),)) for q in asked]
        # A scene of one object has fewer than were asked for, and none of them twice.
        assert len({q.text for q in record.questions}) == len(asked)
        ids = [q.id for q in (*record.questions, *record.statements, *record.stones)]
        assert len(set(ids)) == len(ids)


def test_descriptions_hold_a_prefix_and_statements_do_not(source):
    prefixes = {"caption": "caption:", "complete": "complete: ", "match": "match: "}
    prefixes["entail"] = "entail: "
    kinds = set()
    for index in range(len(source)):
        record = source.record(index)
        for question in record.descriptions:
            assert question.text.startswith(prefixes[question.kind])
            kinds.add(question.kind)
        said = [q.text for q in record.descriptions if q.kind == "entail"]
        assert [f"entail: {q.text}" for q in record.statements] == said
        assert all(q.answers[0].text in ("yes", "no", "maybe") for q in record.statements)
        assert all(q.text.startswith("answer: ") for q in record.stones)
    assert kinds == set(prefixes)


def test_it_passes_to_another_process_as_the_name_of_its_folder(source):
    data = pickle.dumps(source)
    assert len(data) < 1000
    again = pickle.loads(data)
    assert again.fingerprint == source.fingerprint
    assert again.record(3).questions == source.record(3).questions


def test_a_limit_takes_the_first(source, tmp_path):
    few = open_scenes(settings(tmp_path, limit=2), VISION)
    assert len(few) == 2
    assert few.record(1).questions == source.record(1).questions
    assert few.fingerprint != source.fingerprint
    assert len(open_scenes(settings(tmp_path, num_scenes=2, limit=5), VISION)) == 2


def test_processes_draw_what_one_draws(tmp_path, monkeypatch):
    spec = StoreSpec(split="val", num_scenes=7, num_questions=3, seed=1)
    one = open_store(spec, tmp_path / "one")
    # Chunks of this process; its workers begin at the same scenes and stop at their own size.
    monkeypatch.setattr(store_module, "_CHUNK", 3)
    done: list[int] = []
    pieces = open_store(spec, tmp_path / "pieces", num_workers=1, report=done.append)
    assert done == [3, 6, 7]
    for index in range(7):
        np.testing.assert_array_equal(pieces.images_u8[index], one.images_u8[index])
        assert pieces.texts(index) == one.texts(index)


SMALL = StoreSpec(split="val", num_scenes=4, num_questions=2, seed=1)


def test_two_that_open_at_once_leave_one_store(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=open_store, args=(SMALL, tmp_path)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    (folder,) = tmp_path.iterdir()
    assert re.fullmatch(r"scenes-v\d+-val-4x2-seed1-64px-8", folder.name)


def test_what_a_killed_process_had_drawn_is_removed(tmp_path):
    left = tmp_path / f".{SMALL.key}.abc"
    left.mkdir()
    (left / "images_u8.npy").write_bytes(b"half")
    other = tmp_path / f".{SMALL.key}-more.abc"
    other.mkdir()
    open_store(SMALL, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, SMALL.key]


@pytest.mark.parametrize("num_scenes", [4, 300])
def test_drawing_that_fails_says_where_and_leaves_nothing(tmp_path, num_scenes):
    """Pictures of 12,288 bytes: the first chunk, or the second, exceeds what a file may hold."""
    spec = dataclasses.replace(SMALL, num_scenes=num_scenes)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_288 * (num_scenes - 1), limits[1]))
    try:
        with pytest.raises(DataError) as caught:
            open_store(spec, tmp_path, num_workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    size = f"{num_scenes * (12_288 + 128) / 1e6:.3g} MB"
    for words in (str(tmp_path), "File too large", size, "make room", "`root`"):
        assert words in str(caught.value)
    assert not any(tmp_path.iterdir())
    assert len(open_store(spec, tmp_path, num_workers=1).line_ends) == num_scenes


def test_arrays_are_what_numpy_writes(tmp_path):
    store = open_store(SMALL, tmp_path)
    (folder,) = tmp_path.iterdir()
    for name in ("images_u8", "patch_color", "patch_kind"):
        np.save(tmp_path / "again.npy", getattr(store, name))
        assert (folder / f"{name}.npy").read_bytes() == (tmp_path / "again.npy").read_bytes()


def test_what_is_hidden_is_the_same_everywhere_and_the_rest_is_there(source, tmp_path):
    whole = source.record(3)
    grey = open_scenes(settings(tmp_path, hide="picture"), VISION)
    assert (grey.record(3).image == 128).all()
    assert grey.record(3).questions == whole.questions
    mute = pickle.loads(pickle.dumps(open_scenes(settings(tmp_path, hide="question"), VISION)))
    np.testing.assert_array_equal(mute.record(3).image, whole.image)
    assert {question.text for question in mute.record(3).questions} == {"?"}
    assert [q.answers for q in mute.record(3).questions] == [q.answers for q in whole.questions]
    assert len({source.fingerprint, grey.fingerprint, mute.fingerprint}) == 3
    with pytest.raises(ConfigError, match="hide='all'"):
        settings(tmp_path, hide="all")


def test_only_the_families_that_are_named_are_asked(source, tmp_path):
    few = pickle.loads(pickle.dumps(open_scenes(settings(tmp_path, families=("color",)), VISION)))
    whole = source.record(3).questions
    by_key = {few.record(index).key: few.record(index) for index in range(len(few))}
    asked = by_key[source.record(3).key].questions
    assert [q.text for q in asked] == [q.text for q in whole if q.kind == "color"] != []
    assert few.fingerprint != source.fingerprint
    with pytest.raises(ConfigError, match=r"families=colour: need some of existence, counting"):
        open_scenes(settings(tmp_path, families=("colour",)), VISION)


def test_a_scene_without_a_question_of_the_family_is_left_out(source, tmp_path):
    few = open_scenes(settings(tmp_path, families=("two_hop",)), VISION)
    keys = [
        source.record(index).key
        for index in range(len(source))
        if any(q.kind == "two_hop" for q in source.record(index).questions)
    ]
    again = pickle.loads(pickle.dumps(few))
    assert [again.record(index).key for index in range(len(again))] == keys
    assert 0 < len(few) < len(source)
    assert all(few.record(index).questions for index in range(len(few)))
    one = {"num_scenes": 1, "num_questions": 1}
    (asked,) = open_scenes(settings(tmp_path, **one), VISION).record(0).questions
    lacks = "color" if asked.kind == "two_hop" else "two_hop"
    with pytest.raises(ConfigError, match="none of 1 scenes is asked one of them"):
        open_scenes(settings(tmp_path, families=(lacks,), **one), VISION)
