"""Every question is parsed from its text and solved again on the scene graph, by other code."""

from __future__ import annotations

import collections
import re

import numpy as np
import pytest

from tokenfuse_training.data.scenes import (
    COLORS,
    FAMILIES,
    SHAPES,
    build_tokenizer,
    sample_scene,
    scene_questions,
)
from tokenfuse_training.data.scenes.guessing import image_only_majority, question_only_majority

NUM_SCENES = 2000
PER_SCENE = 8


@pytest.fixture(scope="module")
def asked():
    scenes = [sample_scene("train", i, seed=11) for i in range(NUM_SCENES)]
    return [
        (s, scene_questions(s, "train", i, seed=11, num_questions=PER_SCENE))
        for i, s in enumerate(scenes)
    ]


# ---- the solver: pixels of a 64 canvas, sets of objects, no code of the generator ----


def select(scene, phrase):
    """Objects that a noun phrase, singular or plural, is true of."""
    words = phrase.split()
    color = words.pop(0) if words[0] in COLORS else None
    (noun,) = words
    singular = noun[:-1] if noun.endswith("s") else noun
    chosen = []
    for item in scene.objects:
        is_digit = item.kind == "digit"
        if singular in ("thing", "object"):
            right = True
        elif singular == "shape":
            right = not is_digit
        elif singular == "digit":
            right = is_digit
        elif singular.isdecimal():
            right = is_digit and item.digit == int(singular)
        else:
            assert singular in SHAPES, phrase
            right = item.kind == singular
        if right and (color is None or item.color == color):
            chosen.append(item)
    return chosen


def only(items):
    assert len(items) == 1, "the question does not have exactly one referent"
    return items[0]


def side_of(item, anchor):
    """The words that are true of where `item` lies, by centres at least 8 of 64 pixels apart."""
    dx, dy = 64 * (item.x - anchor.x), 64 * (item.y - anchor.y)
    sides = set()
    if abs(dx) >= 8:
        sides.add("left of" if dx < 0 else "right of")
    if abs(dy) >= 8:
        sides.add("above" if dy < 0 else "below")
    return sides


OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
SIDE = "(left of|right of|above|below)"


def yes(value):
    return "yes" if value else "no"


def existence(scene, phrase):
    return yes(select(scene, phrase))


def counting(scene, phrase):
    return str(len(select(scene, phrase)))


def color(scene, phrase):
    return only(select(scene, phrase)).color


def shape(scene, phrase):
    return only(select(scene, phrase)).kind


def digit_of_color(scene, name):
    return str(only([o for o in select(scene, "digits") if o.color == name]).digit)


def only_digit(scene):
    return str(only(select(scene, "digits")).digit)


def more(scene, first, second):
    return yes(len(select(scene, first)) > len(select(scene, second)))


def same_color(scene, first, second):
    first, second = only(select(scene, first)), only(select(scene, second))
    assert first is not second
    return yes(first.color == second.color)


def spatial(scene, first, side, second):
    first, second = only(select(scene, first)), only(select(scene, second))
    sides = side_of(first, second)
    assert side in sides or OPPOSITE[side] in sides, "too close to tell"
    return yes(side in sides)


def beyond(scene, side, phrase):
    anchor = only(select(scene, phrase))
    sides = {id(o): side_of(o, anchor) for o in scene.objects if o is not anchor}
    assert all({side, OPPOSITE[side]} & known for known in sides.values()), "ambiguous object"
    return only([o for o in scene.objects if o is not anchor and side in sides[id(o)]])


def two_hop_color(scene, side, phrase):
    return beyond(scene, side, phrase).color


def two_hop_shape(scene, side, phrase):
    return beyond(scene, side, phrase).kind


def two_hop_digit(scene, side, phrase):
    found = beyond(scene, side, phrase)
    assert found.kind == "digit"
    return str(found.digit)


NOUN = r"((?:\w+ )?\w+)"
PATTERNS = [
    ("existence", rf"(?:is there|do you see) an? {NOUN}\?", existence),
    ("existence", rf"are there any {NOUN}\?", existence),
    ("counting", rf"how many {NOUN} (?:are there|are in the picture|do you see)\?", counting),
    ("two_hop", rf"what color is (?:the (?:thing|object) )?{SIDE} the {NOUN}\?", two_hop_color),
    ("two_hop", rf"what shape is (?:the (?:thing|object) )?{SIDE} the {NOUN}\?", two_hop_shape),
    ("two_hop", rf"(?:what|which) digit is {SIDE} the {NOUN}\?", two_hop_digit),
    ("color", rf"what colou?r is the {NOUN}\?", color),
    ("color", rf"what is the color of the {NOUN}\?", color),
    ("color", rf"which color does the {NOUN} have\?", color),
    ("shape", rf"what shape is the {NOUN}\?", shape),
    ("shape", rf"what is the shape of the {NOUN}\?", shape),
    ("shape", rf"which shape does the {NOUN} have\?", shape),
    ("digit", rf"(?:what|which) (?:digit|number) is ({'|'.join(COLORS)})\?", digit_of_color),
    ("digit", r"what is the (\w+) digit\?", digit_of_color),
    ("digit", r"which digit is there\?", only_digit),
    ("digit", r"what digit do you see\?", only_digit),
    ("digit", r"what is the digit in the picture\?", only_digit),
    ("comparison", rf"are there more {NOUN} than {NOUN}\?", more),
    ("comparison", rf"are the {NOUN} and the {NOUN} the same color\?", same_color),
    ("comparison", rf"do the {NOUN} and the {NOUN} have the same color\?", same_color),
    ("spatial", rf"is the {NOUN} {SIDE} the {NOUN}(?: in the picture)?\?", spatial),
]


def solve(scene, text):
    """(family, answer) from the text alone; every pattern that matches must agree."""
    results = set()
    for family, pattern, solver in PATTERNS:
        match = re.fullmatch(pattern, text)
        if match is not None:
            results.add((family, solver(scene, *match.groups())))
    assert len(results) == 1, (text, results)
    return results.pop()


def test_every_answer_is_what_the_solver_finds(asked):
    used = collections.Counter()
    for scene, questions in asked:
        for q in questions:
            assert (q.family, q.answer) == solve(scene, q.text), (q, scene)
            used.update(p for _, p, _ in PATTERNS if re.fullmatch(p, q.text))
    assert set(used) == {p for _, p, _ in PATTERNS}, "a form is never asked"


@pytest.mark.parametrize("split", ["val", "test"])
def test_answers_hold_in_the_held_out_splits(split):
    for i in range(200):
        scene = sample_scene(split, i, seed=4)
        for q in scene_questions(scene, split, i, seed=4, num_questions=16):
            assert (q.family, q.answer) == solve(scene, q.text), (q, scene)


def test_questions_of_a_scene_differ_and_their_number_is_bounded(asked):
    full = 0
    for scene, questions in asked:
        texts = [q.text for q in questions]
        assert len(texts) == len(set(texts)) and 0 < len(texts) <= PER_SCENE
        full += len(texts) == PER_SCENE
        assert len(scene.objects) == 1 or len(texts) == PER_SCENE
    assert full > 0.95 * NUM_SCENES


def test_no_text_has_an_unknown_word(asked):
    tokenizer = build_tokenizer()
    for _, questions in asked:
        for q in questions:
            for text in (f"answer: {q.text}", q.answer):
                assert 2 not in tokenizer.encode(text).ids, text
            assert tokenizer.decode(tokenizer.encode(q.answer).ids) == q.answer


def shares(asked, family, keep=lambda q: True):
    counts = collections.Counter(
        q.answer for _, qs in asked for q in qs if q.family == family and keep(q)
    )
    total = sum(counts.values())
    return {answer: count / total for answer, count in counts.items()}


def test_families_are_all_well_represented(asked):
    counts = collections.Counter(q.family for _, questions in asked for q in questions)
    assert set(counts) == set(FAMILIES)
    assert min(counts.values()) > 0.07 * counts.total()
    assert max(counts.values()) < 0.18 * counts.total()


@pytest.mark.parametrize("family", ["existence", "comparison", "spatial"])
def test_yes_and_no_are_even(asked, family):
    found = shares(asked, family)
    assert set(found) == {"yes", "no"} and abs(found["yes"] - 0.5) < 0.04


def test_neither_may_be_there_when_two_counts_are_compared(asked):
    """A quarter of the noes, so that a model learns that none is not more than none."""
    neither = noes = 0
    for scene, questions in asked:
        for q in questions:
            match = re.fullmatch(r"are there more (.+) than (.+)\?", q.text)
            if match and q.answer == "no":
                noes += 1
                neither += not any(select(scene, words) for words in match.groups())
    assert 0.1 * noes < neither < 0.4 * noes


@pytest.mark.parametrize(
    ("family", "answers", "low", "high"),
    [
        ("color", COLORS, 0.16, 0.24),
        ("digit", tuple("0123456789"), 0.06, 0.14),
        ("counting", tuple("012345"), 0.05, 0.30),
        ("shape", (*SHAPES, "digit"), 0.12, 0.38),
    ],
)
def test_open_answers_are_spread(asked, family, answers, low, high):
    found = shares(asked, family)
    assert set(found) == set(answers)
    assert min(found.values()) > low and max(found.values()) < high, found


def test_two_hop_answers_are_spread_within_each_form(asked):
    for word, options, high in (
        ("color", COLORS, 0.28),
        ("shape", (*SHAPES, "digit"), 0.30),
        ("digit", tuple("0123456789"), 0.18),
    ):
        found = shares(asked, "two_hop", lambda q, word=word: q.text.split()[1] == word)
        assert set(found) == set(options) and max(found.values()) < high, found


def test_denied_objects_are_near_misses(asked):
    near = total = 0
    for scene, questions in asked:
        for q in questions:
            match = re.fullmatch(r"is there an? (\w+) (\w+)\?", q.text)
            if q.answer == "yes" or not match or match[2] in ("thing", "object"):
                continue
            total += 1
            near += any(o.color == match[1] for o in scene.objects) and bool(
                select(scene, match[2])
            )
    assert total > 80 and near > 0.5 * total


def test_guessing_without_the_picture_fails(asked):
    half = NUM_SCENES // 2
    train = [q for _, questions in asked[:half] for q in questions]
    test = [q for _, questions in asked[half:] for q in questions]
    without_picture, without_question = question_only_majority(train), image_only_majority(train)
    assert np.mean([without_picture(q) == q.answer for q in test]) < 0.45
    assert np.mean([without_question(q) == q.answer for q in test]) < 0.30
    for family in ("existence", "comparison", "spatial"):
        own = [q for q in test if q.family == family]
        assert np.mean([without_picture(q) == q.answer for q in own]) < 0.60


def test_guesses_on_a_case_worked_by_hand():
    from tokenfuse_training.data.scenes import Question

    def q(family, text, answer):
        return Question(family=family, text=text, answer=answer)

    train = [q("a", "x?", "1"), q("a", "x?", "1"), q("a", "y?", "2"), q("b", "z?", "2")]
    train += [q("b", "z?", "2")]
    guess = question_only_majority(train)
    asked = [("a", "x?"), ("a", "y?"), ("b", "z?"), ("a", "new?"), ("b", "new?"), ("c", "new?")]
    # A new text is guessed by its family; `2` is the most frequent of all.
    assert [guess(q(*one, "")) for one in asked] == ["1", "2", "2", "1", "2", "2"]
    assert {image_only_majority(train)(q(*one, "")) for one in asked} == {"2"}
