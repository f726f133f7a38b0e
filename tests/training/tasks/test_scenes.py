"""The composite task: which texts of a scene it gives, and how often."""

from __future__ import annotations

import numpy as np
import pytest

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_sdk.sizes import named_config
from tokenfuse_training.config.data_settings import ScenesData
from tokenfuse_training.config.stage_settings import TaskSettings
from tokenfuse_training.data.record import Record
from tokenfuse_training.data.scenes.source import open_scenes
from tokenfuse_training.errors import BadRecordError
from tokenfuse_training.tasks.scenes import ScenesTask


def task(texts: int = 1, **options: object) -> ScenesTask:
    given = TaskSettings(task="scenes", data="scenes", texts=texts, options=options)
    return ScenesTask.from_settings(given)


def generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=list(key)))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    data = ScenesData(
        root=str(tmp_path_factory.mktemp("scenes")),
        split="val",
        num_scenes=40,
        num_questions=8,
        seed=1,
    )
    return open_scenes(data, named_config("nano").vision)


def test_texts_of_each_kind_are_those_of_the_record(source):
    mixed = task(questions=3, descriptions=2, stones=1, description_weight=0.5)
    assert mixed.terms == {"question": 1.0, "description": 0.5, "stone": 1.0}
    record = source.record(5)
    texts = mixed.texts(record, generator(1, 2), 6)
    assert [text.term for text in texts] == ["question"] * 3 + ["description"] * 2 + ["stone"]
    known = {f"answer: {q.text}": q for q in record.questions}
    known |= {q.text: q for q in (*record.descriptions, *record.stones)}
    for text in texts:
        question = known[text.prompt]
        assert (text.targets, text.kind) == (question.answers, question.kind)
    assert len({text.prompt for text in texts}) == 6
    assert texts == mixed.texts(record, generator(1, 2), 6)
    assert texts != mixed.texts(record, generator(1, 3), 6)


def test_options_that_ask_nothing_leave_patch_labels(source):
    none = task(questions=0)
    assert none.terms == {"question": 0.0}
    assert [text.term for text in none.texts(source.record(0), generator(1, 0), 1)] == ["question"]
    assert task(texts=4).terms == {"question": 1.0}
    assert len(task(texts=4).texts(source.record(5), generator(1, 0), 4)) == 4


def test_without_questions_there_are_none(source):
    texts = task(descriptions=2).texts(source.record(5), generator(1, 0), 2)
    assert [text.term for text in texts] == ["description"] * 2


def test_family_weights_change_what_is_asked(source):
    def share_asked(**weights: float) -> float:
        """Of the counting questions that two draws a scene can ask, the share that is asked."""
        weighted = task(questions=2, family_weights=weights)
        asked = possible = 0
        for index in range(len(source)):
            record = source.record(index)
            held = sum(question.kind == "counting" for question in record.questions)
            for k in range(10):
                texts = weighted.texts(record, generator(index, k), 2)
                asked += sum(text.kind == "counting" for text in texts)
                possible += min(held, 2)
        return asked / possible

    # With weight w, one counting question among seven others is missed by two draws with
    # probability 7/(7+w) * 6/(6+w): 2% for w = 50, 75% for w = 1, 100% for w = 0.
    assert share_asked(counting=50.0) > 0.9
    assert 0.15 < share_asked() < 0.5
    assert share_asked(counting=0.0) == 0.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"question": 2}, "no option question"),
        ({"questions": 1.5}, "questions=1.5"),
        ({"stones": -1}, "stones=-1"),
        ({"stones": True}, "stones=True"),
        ({"questions": 2, "family_weights": {"colour": 2}}, "of existence, counting"),
        ({"questions": 2, "family_weights": {"color": "much"}}, "family_weights.color='much'"),
        ({"questions": 2, "description_weight": -1}, "description_weight=-1"),
        ({"questions": 2, "texts": 5}, "leave texts out"),
    ],
)
def test_options_that_say_nothing_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        task(**options)


def test_a_picture_of_no_generator_is_a_bad_record():
    with pytest.raises(BadRecordError, match="no scene"):
        task().texts(Record(key="a.jpg", image="a.jpg"), generator(0, 0), 1)
