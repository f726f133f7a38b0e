"""A damaged entry is a record that is bad when it is asked for; the others are whole."""

from __future__ import annotations

import pytest
from damaged_files import Files

from tokenfuse_training.errors import DataError


@pytest.fixture
def files(tmp_path):
    return lambda name, **how: Files(tmp_path, name, **how)


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
