"""The official accuracy against its published formula, and the rule of each task."""

from __future__ import annotations

import itertools
import statistics
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from published_files import ten

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.data.formats.vqa2 import scored_answers
from tokenfuse_training.data.record import Answer, Question
from tokenfuse_training.errors import DataError
from tokenfuse_training.evaluation.score import score
from tokenfuse_training.evaluation.vqa_accuracy import vqa_accuracy


def _as_published(answer, said):
    """min(humans that said it / 3, 1), averaged over all 10 choose 9 sets of annotators."""
    subsets = itertools.combinations(range(len(said)), len(said) - 1)
    scores = [
        min(Fraction(sum(said[k] == answer for k in subset), 3), Fraction(1)) for subset in subsets
    ]
    return float(statistics.mean(scores))


@given(st.lists(st.sampled_from(["cat", "dog", "cow"]), min_size=10, max_size=10))
def test_accuracy_is_the_published_formula(said):
    for answer in ("cat", "dog", "cow", "pig"):
        assert vqa_accuracy(answer, said) == _as_published(answer, said)


@pytest.mark.parametrize(
    ("times", "expected"),
    # By hand: of m who said it, m subsets have m - 1 and the other 10 - m have m.
    [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (5, 1.0), (10, 1.0)],
)
def test_accuracy_by_hand(times, expected):
    assert vqa_accuracy("cat", ["cat"] * times + ["dog"] * (10 - times)) == expected


def test_both_sides_are_normalised():
    said = ten("Two.", "2", "a two", "three")
    assert vqa_accuracy("two", said) == 0.9
    # Where all agree as well, unlike in some versions of the evaluator.
    assert vqa_accuracy("Dog.", ["the dog"] * 10) == 1.0


@given(st.lists(st.sampled_from(["cat", "dog", "cow", "the", ""]), min_size=10, max_size=10))
def test_scored_answers(said):
    normal = ["" if answer == "the" else answer for answer in said]
    targets = scored_answers(normal)
    assert {t.text: t.weight for t in targets} == {
        answer: min(normal.count(answer) / 3, 1.0) for answer in set(normal) - {""}
    }
    counts = [normal.count(target.text) for target in targets]
    assert counts == sorted(counts, reverse=True)


def _question(*answers, said=()):
    return Question(
        id="q", text="what?", answers=tuple(Answer(text=a) for a in answers), said=tuple(said)
    )


@pytest.mark.parametrize("task", ["gqa", "scenes", "entail"])
@pytest.mark.parametrize(
    ("text", "right"),
    [("Red bus", 1.0), (" red BUS\n", 1.0), ("red  bus", 0.0), ("the red bus", 0.0), ("", 0.0)],
)
def test_exact_apart_from_case_and_space_around(task, text, right):
    assert score(task, text, _question("red bus")) == right


def test_any_right_answer_will_do():
    assert score("gqa", "sofa", _question("couch", "sofa")) == 1.0


@pytest.mark.parametrize(
    ("label", "word"), [("entailment", "yes"), ("neutral", "maybe"), ("contradiction", "no")]
)
def test_entail_takes_the_word_of_a_label(label, word):
    for text in ("yes", "maybe", "no", "Yes", label):
        assert score("entail", text, _question(label)) == float(text.lower() == word)
    # Scenes name the words themselves.
    assert score("entail", word, _question(word)) == 1.0


def test_vqa_is_the_official_accuracy():
    question = _question("2", "3", said=ten("two", "two", "3"))
    assert score("vqa", "2", question) == 0.6
    assert score("vqa", "Three", question) == 1.0


@pytest.mark.parametrize(
    ("task", "question", "error", "said"),
    [
        ("caption", _question("x"), ConfigError, "need one of vqa, gqa, entail, scenes"),
        ("vqa", _question("x"), DataError, "give `annotations`"),
        ("gqa", _question(said=ten("x")), DataError, "use a split that tells them"),
    ],
)
def test_what_has_no_score(task, question, error, said):
    with pytest.raises(error, match=said):
        score(task, "x", question)
