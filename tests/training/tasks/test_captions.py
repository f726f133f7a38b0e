"""Captioning, completion and matching: what is asked, what is written, and what is refused."""

from __future__ import annotations

import collections
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenfuse_training.data.record import Answer
from tokenfuse_training.errors import BadRecordError
from tokenfuse_training.tasks.caption import Caption
from tokenfuse_training.tasks.captions import words_of
from tokenfuse_training.tasks.complete import Complete
from tokenfuse_training.tasks.match import Match

FIVE = tuple(f"the {word} sleeps" for word in ("dog", "cat", "table", "two", "grass"))


@given(text=st.text(max_size=40))
def test_words_join_to_the_text_and_each_has_a_letter_or_digit(text):
    words = words_of(text)
    assert all(any(c.isalnum() for c in word) for word in words)
    if any(c.isalnum() for c in text):
        assert " ".join(words).split() == text.split()
    else:
        assert words == []


def test_words_by_hand():
    assert words_of(" A dog ,\t runs \n. ") == ["A", "dog ,", "runs ."]
    assert words_of("- 3 dogs") == ["- 3", "dogs"]
    assert words_of("... -") == []


def test_caption_writes_each_caption_once(make_record, make_draw):
    task = Caption()
    found = task.texts(make_record(*FIVE), make_draw(1), 9)
    assert {text.prompt for text in found} == {"caption:"}
    assert sorted(text.targets[0].text for text in found) == sorted(FIVE)
    assert all(text.targets[0].weight == 1.0 and len(text.targets) == 1 for text in found)
    firsts = collections.Counter(
        task.texts(make_record(*FIVE), make_draw(seed), 1)[0].targets[0].text for seed in range(500)
    )
    # 100 each, six standard deviations of 8.9.
    assert set(firsts) == set(FIVE) and max(firsts.values()) < 154
    assert task.terms == {"": 1.0} and not task.needs_other_caption


@pytest.mark.parametrize("task", ["caption", "complete", "match"])
@pytest.mark.parametrize(
    ("captions", "said"),
    [
        ((), "no caption"),
        (("",), "caption 0 is ''"),
        ((" \n",), "caption 0 is"),
        (("the dog runs", "..."), "caption 1 is '...'"),
    ],
)
def test_no_caption_or_an_empty_one_is_a_bad_record(
    task, captions, said, make_record, make_draw, make_coder
):
    coder = make_coder("mask")
    made = {"caption": Caption(), "complete": Complete(coder), "match": Match(coder)}[task]
    record = make_record(*captions, other_caption="two cat runs")
    with pytest.raises(BadRecordError, match=re.escape(said)):
        made.texts(record, make_draw(1), 1)


def test_completion_cuts_everywhere_alike(make_record, make_draw, make_coder):
    task = Complete(make_coder("mask"))
    caption = "the  red dog runs\n."
    cuts = collections.Counter()
    for seed in range(600):
        (text,) = task.texts(make_record(caption), make_draw(seed), 3)
        (target,) = text.targets
        assert text.prompt.startswith("complete: ")
        assert f"{text.prompt[10:]} {target.text}" == "the red dog runs ."
        cuts[target.text] += 1
    # Never the full stop alone. 200 each, six standard deviations of 11.5.
    assert set(cuts) == {"red dog runs .", "dog runs .", "runs ."}
    assert max(cuts.values()) < 270


def test_completion_needs_two_words(make_record, make_draw, make_coder):
    task = Complete(make_coder("mask"))
    for captions in (("dog",), ("dog .",), ("dog", "- cat !")):
        with pytest.raises(BadRecordError, match="at least 2 words"):
            task.texts(make_record(*captions), make_draw(1), 1)
    # Among others, a short one is passed over.
    (text,) = task.texts(make_record("dog", "the cat"), make_draw(1), 4)
    assert (text.prompt, text.targets) == ("complete: the", (Answer(text="cat"),))


def test_matching_is_half_yes_and_half_no(make_record, make_draw, make_coder):
    task = Match(make_coder("mask"))
    record = make_record(*FIVE, other_caption="a small cat on the table")
    seen = collections.Counter()
    for seed in range(600):
        (text,) = task.texts(record, make_draw(seed), 1)
        answer = text.targets[0].text
        assert (text.prompt == "match: a small cat on the table") == (answer == "no")
        assert answer == "no" or text.prompt.removeprefix("match: ") in FIVE
        seen[answer] += 1
    # Six standard deviations of 12.2.
    assert set(seen) == {"yes", "no"} and abs(seen["yes"] - 300) < 74
    assert task.needs_other_caption


def test_a_pair_is_one_of_each_in_either_order(make_record, make_draw, make_coder):
    task = Match(make_coder("mask"))
    record = make_record("the dog runs", other_caption="two cat")
    orders = collections.Counter()
    for seed in range(40):
        pair = task.texts(record, make_draw(seed), 5)
        orders[tuple((text.prompt, text.targets[0].text) for text in pair)] += 1
    yes, no = ("match: the dog runs", "yes"), ("match: two cat", "no")
    assert set(orders) == {(yes, no), (no, yes)}


@pytest.mark.parametrize(
    "other", ["the dog runs", "The  dog runs.", "THE DOG, runs", "the dog", "a cat sleeps!"]
)
def test_a_negative_that_is_none_is_a_bad_record(other, make_record, make_draw, make_coder):
    task = Match(make_coder("mask"))
    record = make_record("the dog runs", "a cat sleeps", other_caption=other)
    for seed in range(8):
        with pytest.raises(BadRecordError, match="the same caption"):
            task.texts(record, make_draw(seed), 1)
    # The same words in another order, or more of them, are another caption.
    for far in ("the runs dog", "the dog runs on grass"):
        assert task.texts(make_record("the dog runs", other_caption=far), make_draw(1), 2)


@pytest.mark.parametrize("other", [None, "", " . "])
def test_matching_needs_another_caption(other, make_record, make_draw, make_coder):
    record = make_record("the dog runs", other_caption=other)
    with pytest.raises(BadRecordError, match=r"another|other picture's caption is"):
        Match(make_coder("mask")).texts(record, make_draw(1), 1)


@pytest.mark.parametrize("kind", ["mask", "sentinels"])
def test_what_is_too_long_is_cut_to_what_fits(kind, make_record, make_draw, make_coder):
    long = " ".join(["the", "red", "dog"] * 40)
    for longest in (9, 10, 17, 40):
        coder = make_coder(kind, longest)
        lengths = set()
        for seed in range(30):
            record = make_record(long, other_caption="cat " + long)
            for text in Match(coder).texts(record, make_draw(seed), 2):
                ids = coder.prompt_ids(text.prompt)
                more = f"{text.prompt} {['the', 'red', 'dog'][len(text.prompt.split()) % 3 - 1]}"
                assert len(ids) <= longest
                if text.targets[0].text == "yes":
                    # One word more would not fit.
                    assert len(coder.encode(more)) >= longest
            (text,) = Complete(coder).texts(record, make_draw(seed), 1)
            lengths.add(len(coder.prompt_ids(text.prompt)))
            assert f"{text.prompt[10:]} {text.targets[0].text}" == long
        assert max(lengths) <= longest
    # A cut may make two captions the same.
    coder = make_coder(kind, 10)
    with pytest.raises(BadRecordError, match="the same caption"):
        record = make_record(f"{long} table", other_caption=f"{long} grass")
        Match(coder).texts(record, make_draw(1), 1)
    with pytest.raises(BadRecordError, match="does not fit a prompt of 10 tokens"):
        Match(make_coder("sentinels", 10)).texts(
            make_record("elephants", other_caption="a dog"), make_draw(2), 1
        )
