"""Damage of a whole file is a DataError when it is opened."""

from __future__ import annotations

import json

import pytest
from damaged_files import WRITERS, Files
from published_files import write_json

from tokenfuse_training.errors import BadRecordError, DataError


@pytest.fixture
def files(tmp_path):
    return lambda name, **how: Files(tmp_path, name, **how)


def _index_of(name):
    return "annotations" if name in ("snli_ve", "coco_captions") else "questions"


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_cut_short_names_the_data_set_and_the_file(files, name):
    own = files(name)
    path = own.path(_index_of(name))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"^data\.mine: .*cut short|line 3, is not JSON") as caught:
        own.open()
    assert str(path) in str(caught.value)
    assert not isinstance(caught.value, BadRecordError)


@pytest.mark.parametrize("name", WRITERS)
def test_files_and_folders_that_are_not_there(files, name):
    own = files(name)
    with pytest.raises(DataError, match=r"none\.json cannot be read: No such file"):
        own.open(**{_index_of(name): "none.json"})
    with pytest.raises(DataError, match="pictures is no folder"):
        own.open(images="pictures")


@pytest.mark.parametrize("name", ["vqa2", "gqa", "coco_captions"])
@pytest.mark.parametrize("top", [[], [{"question_id": 1}], "text", 5])
def test_another_top_level(files, name, top):
    own = files(name)
    own.edit(_index_of(name), lambda value: top)
    with pytest.raises(DataError, match="need an object"):
        own.open()


@pytest.mark.parametrize(
    ("name", "which", "field", "said"),
    [
        ("vqa2", "questions", "questions", "has no 'questions'; need the published file"),
        ("vqa2", "questions", "data_subtype", "data_subtype=None; need one of train2014"),
        ("vqa2", "annotations", "annotations", "has no 'annotations'; need the published file"),
        ("vqa2", "annotations", "data_subtype", "data_subtype=None; need one of train2014"),
        ("coco_captions", "annotations", "annotations", "has no 'annotations'; need a captions_"),
        ("coco_captions", "annotations", "images", "has no 'images'; need a captions_"),
    ],
)
def test_a_field_that_lacks(files, name, which, field, said):
    own = files(name)
    own.edit(which, lambda value: value.pop(field) and None)
    with pytest.raises(DataError) as caught:
        own.open()
    assert said in str(caught.value)
    assert str(own.path(which)) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "empty"),
    [
        ("vqa2", {"data_subtype": "train2014", "questions": []}),
        ("gqa", {}),
        ("coco_captions", {"images": [], "annotations": []}),
    ],
)
def test_nothing_in_it(files, name, empty):
    own = files(name)
    own.edit(_index_of(name), lambda value: empty)
    changes = {"annotations": None} if name == "vqa2" else {}
    with pytest.raises(DataError, match=r"can be used; the first: it holds no (question|caption)s"):
        own.open(**changes)


def test_an_empty_jsonl(files):
    own = files("snli_ve")
    own.path("annotations").write_text("\n\n")
    with pytest.raises(DataError, match="it holds no statements"):
        own.open()


def _again(which, row):
    return lambda value: value[which].append(value[which][row])


@pytest.mark.parametrize(
    ("name", "which", "twice", "said"),
    [
        ("vqa2", "questions", _again("questions", 1), "25000 twice"),
        (
            "vqa2",
            "annotations",
            lambda v: v["annotations"].append(v["annotations"][1]),
            "25000 twice",
        ),
        (
            "coco_captions",
            "annotations",
            lambda v: v["images"].append(v["images"][0]),
            "id 42 twice",
        ),
        (
            "coco_captions",
            "annotations",
            _again("annotations", 0),
            "annotation id 100 twice",
        ),
    ],
)
def test_the_same_id_twice(files, name, which, twice, said):
    own = files(name)
    own.edit(which, twice)
    with pytest.raises(DataError, match=said):
        own.open()


def test_the_same_id_twice_in_gqa_and_snli_ve(files, tmp_path):
    own = Files(tmp_path / "gqa", "gqa", chunks=2)
    folder = own.path("questions")
    write_json(
        folder / "more.json", json.loads((folder / "train_all_questions_0.json").read_text())
    )
    with pytest.raises(DataError, match="has the key '07000000', which was there before"):
        own.open()
    own = Files(tmp_path / "snli", "snli_ve")
    own.edit_line(2, pairID="34.jpg#0r0c")
    with pytest.raises(DataError, match=r"line 3, has the pairID '34.jpg#0r0c' again"):
        own.open()


def test_a_folder_without_chunks(files):
    own = files("gqa")
    (own.root / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no \.json file"):
        own.open(questions="empty")


@pytest.mark.parametrize("other", ["val2014", "train2015", 7, None])
def test_two_files_of_other_splits(files, other):
    own = files("vqa2")
    own.edit("annotations", lambda value: value | {"data_subtype": other})
    with pytest.raises(DataError, match=r"give two files of the same split|need one of train2014"):
        own.open()


def test_annotations_of_other_questions(files):
    own = files("vqa2")

    def change(value):
        for row in value["annotations"]:
            row["question_id"] += 500

    own.edit("annotations", change)
    with pytest.raises(DataError, match="has no annotation of any question in"):
        own.open()
