"""What is asked of a data set: bad records are judged as in training; refused questions score 0."""

from __future__ import annotations

import numpy as np
import pytest

from tokenfuse_training.data.record import Answer, Question, Record
from tokenfuse_training.errors import BadRecordError, TooManyBadRecordsError
from tokenfuse_training.evaluation.asked import SourceQuestions
from tokenfuse_training.evaluation.evaluate import points


class Some:
    """`size` pictures with a question each; some are bad."""

    def __init__(self, size: int, bad: tuple[int, ...]) -> None:
        self.size, self.bad = size, bad

    def __len__(self) -> int:
        return self.size

    def record(self, index: int) -> Record:
        if index in self.bad:
            raise BadRecordError(f"number {index} is bad")
        asked = Question(id=str(index), text="is it?", answers=(Answer(text="yes"),))
        return Record(key=str(index), image=np.zeros((2, 2, 3), np.uint8), questions=(asked,))


def asked(size: int, bad: tuple[int, ...], share: float = 0.01) -> SourceQuestions:
    return SourceQuestions("some", Some(size, bad), "gqa", num_questions=0, max_bad_share=share)


@pytest.mark.parametrize(("size", "bad"), [(102, (3, 70)), (20, (0, 1, 2)), (1, ())])
def test_what_training_takes_is_asked(size, bad):
    pictures = asked(size, bad)
    assert len(list(pictures)) == size - len(bad)
    assert pictures.num_bad == len(bad)


@pytest.mark.parametrize(
    ("size", "bad", "said"),
    [
        # 6 are more than 1 + 4 * sqrt(1) of a hundred.
        (200, tuple(range(10, 16)), "6 of 100 records"),
        (200, tuple(range(200)), "8 of 8 records"),
        (3, (0, 1, 2), "3 of 3 records"),
    ],
)
def test_too_many_are_an_error_that_names_the_first(size, bad, said):
    with pytest.raises(TooManyBadRecordsError, match=f"data some: {said}") as caught:
        list(asked(size, bad))
    assert f"number {bad[0]} is bad" in str(caught.value)
    assert len(list(asked(size, bad, share=1.0))) == size - len(bad)


def test_a_question_that_was_refused_scores_nothing():
    # The empty answer is what three annotators are normalised to.
    said = ("the",) * 3 + ("a b",) * 7
    question = Question(id="1", text="what?", said=said)
    assert points("vqa", "", question) == pytest.approx(0.9)
    assert points("vqa", None, question) == 0.0
