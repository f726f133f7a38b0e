"""The four published formats, as `published_files.py` writes them, read back whole."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from published_files import (
    picture,
    ten,
    write_coco_captions,
    write_gqa,
    write_snli_ve,
    write_vqa2,
)

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_sdk.preprocess import decode_image
from tokenfuse_sdk.sizes import named_config
from tokenfuse_training.config.data_settings import (
    CocoCaptionsData,
    DataSettings,
    GqaData,
    SnliVeData,
    Vqa2Data,
)
from tokenfuse_training.data.open import open_source
from tokenfuse_training.data.record import Answer, Question

VISION = named_config("nano").vision

VQA = [
    (
        9,
        "What is it?",
        ["cat", "Cat.", "a cat", "dog", "dog", "dog", "dog", "kitten", "the", "cow"],
    ),
    (25, "How many?", ten("two", "2")),
    (9, " Is it red? ", ten("yes")),
]
GQA = [("2370799", "Is it red?", "yes"), ("n161313", "Who?", "man"), ("2370799", "What?", "bus")]
SNLI = [
    ("3416050480", "A man sleeps.", "contradiction"),
    ("205", "A dog runs.", "entailment"),
    ("3416050480", "He is old.", "neutral"),
]
CAPTIONS = [(42, "a red bus \n"), (7, "two dogs"), (42, "a bus")]


def _opened(kind, root, files, **settings):
    return open_source("one", kind(root=str(root), **files, **settings), vision=VISION)


def _same_picture(path, expected_HW3):
    difference = decode_image(path).astype(int) - expected_HW3
    assert np.abs(difference).mean() < 8  # JPEG


def test_vqa2(tmp_path):
    files = write_vqa2(tmp_path, VQA, kinds=["other", "number", "yes/no"])
    assert files == {
        "questions": "v2_OpenEnded_mscoco_train2014_questions.json",
        "annotations": "v2_mscoco_train2014_annotations.json",
        "images": "train2014",
    }
    source = _opened(Vqa2Data, tmp_path, files)
    first, second = (source.record(index) for index in range(len(source)))
    # Pictures as they come first, questions of one picture in the order of the file.
    assert first.image == str(tmp_path / "train2014/COCO_train2014_000000000009.jpg")
    assert second.image.endswith("COCO_train2014_000000000025.jpg")
    _same_picture(first.image, picture(9))
    # By hand: cat 3 of 10, dog 4, kitten 1, cow 1; "the" is nothing once articles are gone.
    assert first.questions == (
        Question(
            id="9000",
            text="What is it?",
            answers=(
                Answer(text="dog", weight=1.0),
                Answer(text="cat", weight=1.0),
                Answer(text="kitten", weight=1 / 3),
                Answer(text="cow", weight=1 / 3),
            ),
            said=tuple(VQA[0][2]),
            kind="other",
        ),
        Question(
            id="9001",
            text="Is it red?",
            answers=(Answer(text="yes"),),
            said=("yes",) * 10,
            kind="yes/no",
        ),
    )
    (question,) = second.questions
    assert question.answers == (Answer(text="2"),)
    assert question.said[0] == "two"
    assert question.kind == "number"


def test_vqa2_without_annotations_asks_of_the_test_pictures(tmp_path):
    files = write_vqa2(tmp_path, VQA, subtype="test2015")
    path = tmp_path / files["questions"]
    path.write_text(path.read_text().replace('"test2015"', '"test-dev2015"'))
    source = _opened(Vqa2Data, tmp_path, files | {"annotations": None})
    record = source.record(1)
    assert record.image.endswith("COCO_test2015_000000000025.jpg")
    assert record.questions == (Question(id="25000", text="How many?"),)


def test_gqa(tmp_path):
    source = _opened(
        GqaData, tmp_path, write_gqa(tmp_path, GQA, kinds=["verify", "query", "query"])
    )
    assert len(source) == 2
    record = source.record(0)
    assert record.image == str(tmp_path / "images/2370799.jpg")
    assert record.questions == (
        Question(id="07000000", text="Is it red?", answers=(Answer(text="yes"),), kind="verify"),
        Question(id="07000002", text="What?", answers=(Answer(text="bus"),), kind="query"),
    )
    assert source.record(1).questions[0].id == "07000001"


def test_gqa_in_chunks_holds_the_same_questions(tmp_path):
    whole = _opened(GqaData, tmp_path / "one", write_gqa(tmp_path / "one", GQA))
    files = write_gqa(tmp_path / "many", GQA, chunks=2)
    (tmp_path / "many" / files["questions"] / "readme.txt").write_text("no chunk")
    chunks = _opened(GqaData, tmp_path / "many", files)

    def asked(source):
        records = [source.record(index) for index in range(len(source))]
        return {question for record in records for question in record.questions}

    assert asked(chunks) == asked(whole)
    assert len(asked(whole)) == 3


def test_gqa_without_answers(tmp_path):
    files = write_gqa(tmp_path, GQA, split="test")
    path = tmp_path / files["questions"]
    entries = json.loads(path.read_text())
    for entry in entries.values():
        del entry["answer"], entry["types"]
    path.write_text(json.dumps(entries))
    source = _opened(GqaData, tmp_path, files)
    assert source.record(1).questions == (Question(id="07000001", text="Who?"),)


def test_snli_ve(tmp_path):
    source = _opened(SnliVeData, tmp_path, write_snli_ve(tmp_path, SNLI))
    record = source.record(0)
    assert record.image == str(tmp_path / "flickr30k-images/3416050480.jpg")
    assert record.statements == (
        Question(
            id="3416050480.jpg#0r0c",
            text="A man sleeps.",
            answers=(Answer(text="contradiction"),),
            kind="contradiction",
        ),
        Question(
            id="3416050480.jpg#0r2n",
            text="He is old.",
            answers=(Answer(text="neutral"),),
            kind="neutral",
        ),
    )
    assert [s.text for s in source.record(1).statements] == ["A dog runs."]


@pytest.mark.parametrize(
    ("split", "name"),
    [
        ("val2014", "COCO_val2014_000000000042.jpg"),
        ("train2017", "000000000042.jpg"),
    ],
)
def test_coco_captions(tmp_path, split, name):
    source = _opened(
        CocoCaptionsData, tmp_path, write_coco_captions(tmp_path, CAPTIONS, split=split)
    )
    record = source.record(0)
    assert record.image == str(tmp_path / split / name)
    assert record.captions == ("a red bus", "a bus")
    assert source.record(1).captions == ("two dogs",)
    assert record.key == f"one: {name}"


def test_coco_captions_in_another_order_of_fields(tmp_path):
    files = write_coco_captions(tmp_path, CAPTIONS)
    path = tmp_path / files["annotations"]
    value = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(value.items())), indent=2))
    assert _opened(CocoCaptionsData, tmp_path, files).record(0).captions == ("a red bus", "a bus")


def test_a_source_passes_to_a_worker_and_keeps_its_records(tmp_path):
    source = _opened(Vqa2Data, tmp_path, write_vqa2(tmp_path, VQA))
    again = pickle.loads(pickle.dumps(source))
    assert [again.record(i) for i in range(2)] == [source.record(i) for i in range(2)]
    assert again.fingerprint == source.fingerprint


def test_limit_keeps_the_first_pictures(tmp_path):
    files = write_vqa2(tmp_path, VQA)
    whole = _opened(Vqa2Data, tmp_path, files)
    one = _opened(Vqa2Data, tmp_path, files, limit=1)
    assert len(one) == 1
    assert one.record(0) == whole.record(0)
    assert len(_opened(Vqa2Data, tmp_path, files, limit=5)) == 2


def test_many_questions_of_few_pictures_keep_their_order(tmp_path):
    draw = np.random.default_rng(0)
    rows = [(f"{draw.integers(5)}", f"question {row}?", "yes") for row in range(300)]
    source = _opened(GqaData, tmp_path, write_gqa(tmp_path, rows))
    for index, image_id in enumerate(dict.fromkeys(image_id for image_id, _, _ in rows)):
        record = source.record(index)
        assert record.image.endswith(f"/{image_id}.jpg")
        assert [q.text for q in record.questions] == [t for i, t, _ in rows if i == image_id]


def test_the_fingerprint_is_of_what_would_be_read(tmp_path):
    files = write_vqa2(tmp_path / "a", VQA)
    write_vqa2(tmp_path / "b", VQA)
    write_vqa2(tmp_path / "c", [*VQA[:2], (9, "Is it blue?", ten("yes"))])
    write_vqa2(tmp_path / "d", [*VQA[:2], (9, " Is it red? ", ten("no"))])
    first, moved, asked, answered = (
        _opened(Vqa2Data, tmp_path / folder, files).fingerprint for folder in "abcd"
    )
    limited = _opened(Vqa2Data, tmp_path / "a", files, limit=1).fingerprint
    assert first == moved
    assert len({first, asked, answered, limited}) == 4


def test_settings_of_no_format():
    with pytest.raises(ConfigError, match=r"data\.one is a DataSettings"):
        open_source("one", DataSettings(), vision=VISION)


def test_a_number_beyond_the_end(tmp_path):
    source = _opened(SnliVeData, tmp_path, write_snli_ve(tmp_path, SNLI))
    for index in (2, -1):
        with pytest.raises(IndexError):
            source.record(index)
