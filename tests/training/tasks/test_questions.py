"""VQA, GQA and entailment: soft targets, one answer, labels as words."""

from __future__ import annotations

import math

import pytest

from tokenfuse_training.data.record import Answer
from tokenfuse_training.errors import BadRecordError
from tokenfuse_training.tasks.entail import Entail, entail_word
from tokenfuse_training.tasks.gqa import Gqa
from tokenfuse_training.tasks.vqa import Vqa


def test_vqa_weighs_every_right_answer(make_record, make_question, make_draw):
    # Ten people: 7 said dog, 2 cat, 1 table: min(n / 3, 1) is 1, 2/3, 1/3, together 2.
    asked = make_question(
        "what  is\nit?", ("dog", 1.0), ("cat", 2 / 3), ("table", 1 / 3), ("no", 0.0), kind="what is"
    )
    (text,) = Vqa().texts(make_record(questions=(asked,)), make_draw(1), 3)
    assert (text.prompt, text.kind, text.term) == ("answer: what is it?", "what is", "")
    assert [answer.text for answer in text.targets] == ["dog", "cat", "table"]
    weights = [answer.weight for answer in text.targets]
    assert weights == pytest.approx([1 / 2, 1 / 3, 1 / 6], abs=1e-15)
    assert math.fsum(weights) == pytest.approx(1.0, abs=1e-15)


def test_questions_are_drawn_once_each(make_record, make_question, make_draw):
    asked = tuple(make_question(f"is it {n}?", ("yes", 1.0)) for n in range(6))
    for task in (Vqa(), Gqa()):
        found = task.texts(make_record(questions=asked), make_draw(4), 4)
        assert len({text.prompt for text in found}) == 4
        firsts = {
            task.texts(make_record(questions=asked), make_draw(s), 1)[0].prompt for s in range(60)
        }
        assert len(firsts) == 6
        again = task.texts(make_record(questions=asked), make_draw(4), 4)
        assert found == again


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ((), "no right answer"),
        ((("dog", 0.0),), "no right answer"),
        ((("dog", -1.0), ("cat", 2.0)), "weight -1"),
        ((("dog", math.nan),), "weight nan"),
        ((("dog", math.inf),), "weight inf"),
    ],
)
def test_vqa_without_a_right_answer_is_a_bad_record(
    answers, said, make_record, make_question, make_draw
):
    with pytest.raises(BadRecordError, match=said):
        Vqa().texts(make_record(questions=(make_question("is it?", *answers),)), make_draw(1), 1)


def test_gqa_has_one_answer(make_record, make_question, make_draw):
    (text,) = Gqa().texts(
        make_record(questions=(make_question("is it?", ("yes", 1.0), kind="verify"),)),
        make_draw(1),
        1,
    )
    assert (text.prompt, text.kind) == ("answer: is it?", "verify")
    assert text.targets == (Answer(text="yes"),)
    for answers in ((), (("yes", 1.0), ("no", 1.0))):
        with pytest.raises(BadRecordError, match="need one"):
            Gqa().texts(
                make_record(questions=(make_question("is it?", *answers),)), make_draw(1), 1
            )


def test_entailment_in_words(make_record, make_question, make_draw):
    labels = {"entailment": "yes", "neutral": "maybe", "contradiction": "no", "maybe": "maybe"}
    for label, word in labels.items():
        statement = make_question("two dogs run.", (label, 1.0), kind=label)
        (text,) = Entail().texts(make_record(statements=(statement,)), make_draw(1), 2)
        assert (text.prompt, text.targets) == ("entail: two dogs run.", (Answer(text=word),))
        assert entail_word(label) == word
    assert entail_word("-") is None
    with pytest.raises(BadRecordError, match="label '-'"):
        bad = make_question("two dogs run.", ("-", 1.0))
        Entail().texts(make_record(statements=(bad,)), make_draw(1), 1)


@pytest.mark.parametrize("task", [Vqa(), Gqa(), Entail()])
def test_nothing_to_ask_is_a_bad_record(task, make_record, make_question, make_draw):
    with pytest.raises(BadRecordError, match=r"there is no (question|statement)"):
        task.texts(make_record("a caption"), make_draw(1), 1)
    blank = (make_question(" \t", ("yes", 1.0)),)
    with pytest.raises(BadRecordError, match="q1 is empty"):
        task.texts(make_record(questions=blank, statements=blank), make_draw(1), 1)
