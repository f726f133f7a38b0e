"""Damage of a whole file is a DataError when it is opened; of one entry, a record that is bad."""

from __future__ import annotations

import json
import os
import pathlib

import numpy as np
import pytest
from published_files import (
    ten,
    write_coco_captions,
    write_gqa,
    write_json,
    write_snli_ve,
    write_vqa2,
)

from tokenfuse_sdk.errors import ImageError
from tokenfuse_sdk.preprocess import decode_image
from tokenfuse_sdk.sizes import named_config
from tokenfuse_training.data.open import open_source
from tokenfuse_training.errors import BadRecordError, DataError
from tokenfuse_training.train_config import CocoCaptionsData, GqaData, SnliVeData, Vqa2Data

VISION = named_config("nano").vision

VQA = [(9, "What is it?", ten("cat")), (25, "How many?", ten("2")), (9, "Red?", ten("yes"))]
GQA = [("237", "Is it red?", "yes"), ("n16", "Who?", "man"), ("237", "What?", "bus")]
SNLI = [
    ("34", "A man.", "contradiction"),
    ("20", "A dog.", "entailment"),
    ("34", "Old.", "neutral"),
]
CAPTIONS = [(42, "a red bus"), (7, "two dogs"), (42, "a bus")]

WRITERS = {
    "vqa2": (Vqa2Data, write_vqa2, VQA),
    "gqa": (GqaData, write_gqa, GQA),
    "snli_ve": (SnliVeData, write_snli_ve, SNLI),
    "coco_captions": (CocoCaptionsData, write_coco_captions, CAPTIONS),
}


class Files:
    """A data set on disk, of which a part is damaged before it is opened."""

    def __init__(self, root, name, **how):
        self.kind, write, rows = WRITERS[name]
        self.root = root
        self.files = write(root, rows, **how)
        self.name = name

    def path(self, which):
        return self.root / self.files[which]

    def edit(self, which, change):
        value = json.loads(self.path(which).read_text())
        changed = change(value)
        write_json(self.path(which), value if changed is None else changed)

    def edit_line(self, number, **fields):
        path = self.path("annotations")
        lines = path.read_text().splitlines()
        entry = json.loads(lines[number])
        for key, value in fields.items():
            entry.pop(key)
            if value is not ...:
                entry[key] = value
        lines[number] = json.dumps(entry)
        path.write_text("\n".join(lines))

    def open(self, **changes):
        return open_source(
            "mine", self.kind(root=str(self.root), **self.files | changes), vision=VISION
        )

    def read(self):
        """Records that are whole, and what the others say."""
        source = self.open()
        records, bad = [], []
        for index in range(len(source)):
            try:
                records.append(source.record(index))
            except BadRecordError as error:
                bad.append(str(error))
        return records, bad


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


def _set(which, row, **fields):
    """Change an entry of a VQA file; `...` takes the field away."""

    def change(value):
        entry = value[which][row]
        for key, new in fields.items():
            del entry[key]
            if new is not ...:
                entry[key] = new

    return which, change


_HALF = "\ud800"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_set("questions", 0, question=""), "questions[0] question: need text that is not empty"),
        (_set("questions", 0, question=" \n"), "need text that is not empty"),
        (_set("questions", 0, question=7), "found 7"),
        (_set("questions", 0, question=_HALF), "need text"),
        (_set("questions", 0, question=...), "has no 'question'"),
        (_set("questions", 0, image_id="9"), "image_id: need a whole number from 0, found '9'"),
        (_set("questions", 0, image_id=-1), "image_id: need a whole number from 0, found -1"),
        (_set("questions", 0, image_id=True), "found True"),
        (_set("questions", 0, image_id=9.0), "found 9.0"),
        (_set("questions", 0, image_id=10**30), "found 1000000"),
        (_set("annotations", 0, answers=...), "annotations[0] answers: need 10 of them"),
        (_set("annotations", 0, answers=[]), "need 10 of them, found 0"),
        (_set("annotations", 0, answers="cat"), "need 10 of them, found 'cat'"),
        (_set("annotations", 0, answers=["cat"] * 10), "need an object, found 'cat'"),
        (_set("annotations", 0, answers=[{"answer": 3}] * 10), "need a text as `answer`"),
        (_set("annotations", 0, answers=[{"answer": "The."}] * 10), "need one that is not empty"),
        (_set("annotations", 0, image_id=8), "image_id=8: the question is about 9"),
        (_set("annotations", 0, answer_type=...), "has no 'answer_type'"),
    ],
)
def test_a_damaged_entry_of_vqa2_is_bad_alone(files, damage, said):
    own = files("vqa2")
    own.edit(*damage)
    records, bad = own.read()
    assert [[q.text for q in r.questions] for r in records] == [["How many?"], ["Red?"]]
    (message,) = bad
    assert said in message
    assert str(own.path(damage[0])) in message


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        # The annotation of what is no question is one fault more.
        (
            _set("questions", 0, question_id="x"),
            ["question_id: need", "of question 9000"],
        ),
        (_set("questions", 0, question_id=123), ["question 123 has no ann", "of question 9000"]),
        (
            _set("annotations", 0, question_id=...),
            ["9000 has no ann", "no 'question_id'"],
        ),
        (("questions", lambda v: v["questions"].__setitem__(0, [1])), ["need an object", "9000"]),
        (("annotations", lambda v: v["annotations"].pop(0) and None), ["question 9000 has no ann"]),
        (("questions", lambda v: v["questions"].pop(0) and None), ["is of question 9000, which"]),
    ],
)
def test_a_question_and_an_annotation_without_the_other(files, damage, said):
    own = files("vqa2")
    own.edit(*damage)
    records, bad = own.read()
    assert len(records) == 2
    assert len(bad) == len(said)
    for part, message in zip(said, bad, strict=True):
        assert part in message


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"imageId": ...}, "has no 'imageId'"),
        ({"imageId": 237}, "imageId: need text that is not empty, found 237"),
        ({"question": "  "}, "question: need text"),
        ({"question": None}, "found None"),
        ({"answer": ...}, "question '07000000' has no 'answer', as others have"),
        ({"answer": ["yes"]}, "answer: need text"),
        ({"answer": " "}, "answer: need text"),
        ({"types": {"structural": 1}}, "structural: need text"),
    ],
)
def test_a_damaged_entry_of_gqa_is_bad_alone(files, fields, said):
    own = files("gqa")

    def change(value):
        entry = value["07000000"]
        for key, new in fields.items():
            del entry[key]
            if new is not ...:
                entry[key] = new

    own.edit("questions", change)
    records, (message,) = own.read()
    assert sorted(q.text for r in records for q in r.questions) == ["What?", "Who?"]
    assert said in message


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"gold_label": "-"}, "gold_label='-': need one of entailment, neutral, contradiction"),
        ({"gold_label": "Neutral"}, "gold_label='Neutral'"),
        ({"gold_label": ...}, "has no 'gold_label'"),
        ({"gold_label": 2}, "found 2"),
        ({"sentence2": ""}, "sentence2: need text"),
        ({"Flickr30K_ID": 34}, "Flickr30K_ID: need text"),
        ({"pairID": ...}, "has no 'pairID'"),
    ],
)
def test_a_damaged_line_of_snli_ve_is_bad_alone(files, fields, said):
    own = files("snli_ve")
    own.edit_line(0, **fields)
    records, (message,) = own.read()
    assert [[s.text for s in r.statements] for r in records] == [["A dog."], ["Old."]]
    assert "line 1," in message
    assert said in message


@pytest.mark.parametrize(
    ("which", "fields", "said", "left"),
    [
        ("annotations", {"caption": ""}, "annotations[0] caption: need text", 3),
        ("annotations", {"caption": "\n "}, "caption: need text", 3),
        ("annotations", {"caption": None}, "found None", 3),
        ("annotations", {"image_id": "42"}, "image_id: need a whole number", 3),
        ("annotations", {"image_id": 8}, "caption 'a red bus' is of image 8, which", 3),
        ("annotations", {"id": ...}, "annotations[0] has no 'id'", 3),
        # The captions of that picture go with it.
        ("images", {"file_name": ...}, "images[0] has no 'file_name'", 2),
        ("images", {"file_name": 42}, "file_name: need text", 2),
    ],
)
def test_a_damaged_entry_of_coco_captions_is_bad_alone(files, which, fields, said, left):
    own = files("coco_captions")
    own.edit("annotations", _set(which, 0, **fields)[1])
    records, (message,) = own.read()
    assert len(records) + 1 == left
    assert {c for r in records for c in r.captions} == (
        {"two dogs"} | ({"a bus"} if left == 3 else set())
    )
    assert said in message


def test_a_picture_without_a_caption(files):
    own = files("coco_captions")
    own.edit("annotations", lambda value: value["annotations"].pop(1) and None)
    records, (message,) = own.read()
    assert len(records) == 1
    assert message.endswith("has no caption")


def test_a_file_of_damaged_entries_is_no_data_set(files):
    own = files("coco_captions")

    def change(value):
        for row in value["annotations"]:
            row["caption"] = ""

    own.edit("annotations", change)
    with pytest.raises(DataError, match=r"no caption that can be used; the first: .*s\[0\]"):
        own.open()


def _picture_of(own):
    """The picture of the first record."""
    return own.open().record(0).image


def test_a_missing_picture(files):
    own = files("vqa2")
    os.remove(_picture_of(own))
    records, (message,) = own.read()
    assert len(records) == 1
    assert "COCO_train2014_000000000009.jpg cannot be read: No such file" in message


def test_a_picture_that_is_a_folder_or_a_pipe(files):
    own = files("gqa")
    path = _picture_of(own)
    for make in (os.mkdir, os.mkfifo):
        if os.path.isdir(path):
            os.rmdir(path)
        else:
            os.remove(path)
        make(path)
        with pytest.raises(BadRecordError, match="is no plain file"):
            own.open().record(0)


def test_a_picture_that_does_not_decode_is_found_by_whoever_decodes_it(files):
    own = files("vqa2")
    path = _picture_of(own)
    whole = pathlib.Path(path).read_bytes()
    for data in (b"", b"no picture", whole[:100]):
        pathlib.Path(path).write_bytes(data)
        with pytest.raises(ImageError):
            decode_image(own.open().record(0).image)


@pytest.mark.parametrize(
    "name", ["../secret.jpg", "a/../../secret.jpg", "..\\secret.jpg", "a\0b.jpg"]
)
def test_a_name_that_leads_out_of_the_folder(files, name):
    own = files("coco_captions")
    (own.root / "secret.jpg").write_bytes(pathlib.Path(_picture_of(own)).read_bytes())
    own.edit("annotations", lambda value: value["images"][0].update(file_name=name))
    with pytest.raises(BadRecordError, match="leads out of"):
        own.open().record(0)


def test_an_absolute_name(files):
    own = files("coco_captions")
    path = _picture_of(own)
    own.edit("annotations", lambda value: value["images"][0].update(file_name=path))
    with pytest.raises(BadRecordError, match="leads out of"):
        own.open().record(0)


def test_ids_of_gqa_and_snli_ve_lead_out_no_more(tmp_path):
    rows = [("../images", "Is it?", "yes"), ("237", "Who?", "man")]
    pictures = {"../images": np.zeros((8, 8, 3), np.uint8), "237": np.zeros((8, 8, 3), np.uint8)}
    settings = GqaData(root=str(tmp_path), **write_gqa(tmp_path, rows, pictures=pictures))
    with pytest.raises(BadRecordError, match="leads out of"):
        open_source("mine", settings, vision=VISION).record(0)


def test_links(files, tmp_path):
    own = files("coco_captions")
    path = _picture_of(own)
    outside = tmp_path / "outside.jpg"
    os.rename(path, outside)
    os.symlink(outside, path)
    with pytest.raises(BadRecordError, match="is a link out of"):
        own.open().record(0)
    # One that stays inside is as good as a file, and so is one to the folder itself.
    inside = own.path("images") / "real.jpg"
    os.remove(path)
    os.rename(outside, inside)
    os.symlink("real.jpg", path)
    assert own.open().record(0).image == path
    os.symlink(own.path("images"), tmp_path / "linked")
    assert own.open(images="linked").record(0).captions == ("a red bus", "a bus")
    # A folder below that leads out, and a link to itself.
    os.symlink(tmp_path, own.path("images") / "out")
    (tmp_path / "outside.jpg").write_bytes(inside.read_bytes())
    own.edit("annotations", lambda value: value["images"][0].update(file_name="out/outside.jpg"))
    with pytest.raises(BadRecordError, match="is a link out of"):
        own.open().record(0)
    own.edit("annotations", lambda value: value["images"][0].update(file_name="round.jpg"))
    os.symlink("round.jpg", own.path("images") / "round.jpg")
    with pytest.raises(BadRecordError, match="cannot be read"):
        own.open().record(0)


def test_a_name_in_a_folder_below(files):
    own = files("coco_captions")
    path = _picture_of(own)
    below = own.path("images") / "part"
    below.mkdir()
    os.rename(path, below / "x.jpg")
    own.edit("annotations", lambda value: value["images"][0].update(file_name="part/x.jpg"))
    assert own.open().record(0).image == str(below / "x.jpg")
