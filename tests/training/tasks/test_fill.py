"""Masked words against every way to mask that there is, written a second time."""

from __future__ import annotations

import collections
import itertools

import pytest

from tokenfuse_training.errors import BadRecordError
from tokenfuse_training.tasks.fill import Fill, draw_spans

EIGHT = "the red dog sleeps on a small table"


def runs(masked: tuple[int, ...]) -> list[list[int]]:
    """Neighbours among the masked words."""
    found: list[list[int]] = []
    for place in masked:
        if found and found[-1][-1] == place - 1:
            found[-1].append(place)
        else:
            found.append([place])
    return found


def ways(num_words: int, num_masked: int, num_spans: int) -> list[tuple[int, ...]]:
    chosen = itertools.combinations(range(num_words), num_masked)
    return [masked for masked in chosen if len(runs(masked)) == num_spans]


@pytest.mark.parametrize(
    ("num_words", "num_masked", "num_spans"),
    [(2, 1, 1), (6, 2, 1), (6, 3, 2), (7, 3, 3), (5, 3, 3), (4, 3, 2), (9, 4, 2)],
)
def test_spans_are_every_way_alike(num_words, num_masked, num_spans, make_draw):
    draw, seen, each = make_draw(3), collections.Counter(), 150
    expected = ways(num_words, num_masked, num_spans)
    for _ in range(each * len(expected)):
        spans = draw_spans(draw, num_words, num_masked, num_spans)
        seen[tuple(place for begin, end in spans for place in range(begin, end))] += 1
    assert set(seen) == set(expected)
    # Six standard deviations.
    assert all(abs(count - each) < 6 * each**0.5 for count in seen.values())


def filled(coder, kind, words, masked):
    """Prompt and target, word by word, from the set of masked places."""
    prompt, target = coder.encode("fill:"), []
    for number, run in enumerate(runs(masked)):
        sign = coder.mask_ids[number] if kind == "sentinels" else None
        target += ([sign] if sign is not None else []) + coder.encode(
            " ".join(words[place] for place in run)
        )
    if kind == "sentinels":
        target.append(coder.mask_ids[len(runs(masked))])
    number = -1
    for place, word in enumerate(words):
        if place not in masked:
            prompt += coder.encode(word)
        elif kind != "sentinels":
            prompt += coder.mask_ids
        elif place - 1 not in masked:
            number += 1
            prompt.append(coder.mask_ids[number])
    return tuple(prompt), tuple(target)


@pytest.mark.parametrize("kind", ["sentinels", "mask", "unknown"])
@pytest.mark.parametrize(
    ("options", "num_masked", "num_spans"),
    [
        ({}, 1, 1),
        ({"share": 0.25}, 2, 1),
        ({"share": 0.5, "mean_words": 2.0}, 4, 2),
        ({"share": 0.5, "mean_words": 1.0}, 4, 4),
        ({"share": 1.0, "mean_words": 1.0}, 7, 2),
        ({"share": 0.0}, 1, 1),
    ],
)
def test_texts_are_those_of_a_second_implementation(
    kind, options, num_masked, num_spans, make_coder, make_record, make_draw
):
    coder, words = make_coder(kind), EIGHT.split()
    if kind == "sentinels":
        # Four sentinels: three spans and the end.
        num_spans = min(num_spans, 3)
    expected = {filled(coder, kind, words, masked) for masked in ways(8, num_masked, num_spans)}
    seen = set()
    for seed in range(80):
        (text,) = Fill(coder, **options).texts(make_record(EIGHT), make_draw(seed), 2)
        seen.add((text.prompt, text.targets[0]))
    assert seen <= expected
    assert len(seen) > min(5, len(expected) - 1)


def test_worked_by_hand(make_coder, make_record, make_draw):
    coder = make_coder("sentinels")
    zero, one = coder.mask_ids[:2]
    found = set()
    for seed in range(30):
        (text,) = Fill(coder).texts(make_record("a dog"), make_draw(seed), 1)
        found.add((text.prompt, text.targets[0]))
    sign, a, dog = coder.encode("fill:"), coder.encode("a"), coder.encode("dog")
    assert found == {
        ((*sign, zero, *dog), (zero, *a, one)),
        ((*sign, *a, zero), (zero, *dog, one)),
    }


@pytest.mark.parametrize("kind", ["sentinels", "mask"])
def test_stretches_are_encoded_as_the_whole_is(kind, make_coder):
    coder = make_coder(kind)
    text = "fill: the red dog, runs on grass . two"
    parts = ("fill:", "the red", "dog, runs", "on grass . two")
    assert [i for part in parts for i in coder.encode(part)] == coder.encode(text)


def test_no_masked_word_is_left_in_the_prompt(make_coder, make_record, make_draw):
    for kind in ("sentinels", "mask"):
        coder = make_coder(kind)
        ids = [set(coder.encode(word)) for word in EIGHT.split()] if kind == "mask" else []
        for seed in range(40):
            (text,) = Fill(coder, share=0.4).texts(make_record(EIGHT), make_draw(seed), 1)
            if kind == "mask":
                assert not set(text.targets[0]) & set(text.prompt)
                assert all(len(word) == 1 for word in ids)
            else:
                shown = coder.decode(text.prompt).split()
                hidden = coder.decode(text.targets[0])
                words = [w for w in EIGHT.split() if w in hidden.split()]
                assert words and not set(words) & set(shown)


def test_bad_records(make_coder, make_record, make_draw):
    task = Fill(make_coder("mask"))
    for captions, said in (
        ((), "no caption"),
        (("dog",), "at least 2 words"),
        (("the dog", " "), "at least one letter"),
    ):
        with pytest.raises(BadRecordError, match=said):
            task.texts(make_record(*captions), make_draw(1), 1)
    # A word that the vocabulary does not have is no target; and where nothing but <unk> can
    # stand for what is left out, it may not stand for itself either.
    errors = collections.Counter()
    for kind in ("mask", "unknown"):
        for seed in range(40):
            try:
                (text,) = Fill(make_coder(kind)).texts(
                    make_record("the zebra runs"), make_draw(seed), 1
                )
                assert 2 in text.prompt
                errors[kind, "none"] += 1
            except BadRecordError as error:
                reason = "target" if "target" in str(error) else "look like"
                assert reason in str(error)
                errors[kind, reason] += 1
    assert set(errors) == {
        ("mask", "none"),
        ("mask", "target"),
        ("unknown", "target"),
        ("unknown", "look like"),
    }


@pytest.mark.parametrize("kind", ["sentinels", "mask"])
def test_long_captions_fit(kind, make_coder, make_record, make_draw):
    coder = make_coder(kind, 12)
    for seed in range(20):
        (text,) = Fill(coder, share=0.3).texts(
            make_record(" ".join([EIGHT] * 9)), make_draw(seed), 1
        )
        assert len(coder.prompt_ids(text.prompt)) <= 12
    with pytest.raises(BadRecordError, match="need two"):
        Fill(make_coder("sentinels", 9)).texts(make_record("dog table"), make_draw(1), 1)
