from __future__ import annotations

import json

import numpy as np
import pytest

from tokenfuse_sdk.bundle import read_bundle
from tokenfuse_sdk.errors import BundleFormatError, QuestionError
from tokenfuse_sdk.tokenizer import Tokenizer


@pytest.fixture
def tokenizer(bundle):
    return read_bundle(bundle).tokenizer


def test_text_comes_back(tokenizer):
    ids = tokenizer.encode("answer: how many red circles are there?", 64)
    assert ids.dtype == np.int32
    assert ids[-1] == 1
    assert tokenizer.decode(ids) == "answer : how many red circles are there?"


def test_case_and_blanks_do_not_matter(tokenizer):
    want = tokenizer.encode("is there a star?", 64)
    for text in ("Is there a STAR ?", "  is\tthere\na  star?  ", "is there a star ?"):
        np.testing.assert_array_equal(tokenizer.encode(text, 64), want)


def test_unknown_words_are_named_once_in_order(tokenizer):
    words = tokenizer.unknown_words("is there a zebra or a hippo, or a zebra?")
    assert words[0] == "zebra"
    assert set(words) >= {"zebra", "hippo"}
    assert len(words) == len(set(words))
    assert tokenizer.unknown_words("is there a star?") == ()


def test_entries_of_the_vocabulary_have_their_ids(tokenizer):
    assert [tokenizer.token_id(token) for token in ("<pad>", "</s>", "<mask>")] == [0, 1, None]
    star = tokenizer.token_id("star")
    assert tokenizer.encode("star", 64).tolist() == [star, 1]


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_nothing_is_refused(tokenizer, text):
    with pytest.raises(QuestionError, match="empty"):
        tokenizer.encode(text, 64)


@pytest.mark.parametrize(
    "text", ["a\x00b", "bell \x07", "del \x7f", "next line \x85", "half a pair \ud800"]
)
def test_control_characters_are_refused(tokenizer, text):
    with pytest.raises(QuestionError, match="remove it"):
        tokenizer.encode(text, 64)


def test_tabs_and_line_ends_are_text(tokenizer):
    assert len(tokenizer.encode("red\tstar\r\nred", 64)) > 2


def test_the_longest_text_fits_and_one_more_does_not(tokenizer):
    assert len(tokenizer.encode("red " * 63, 64)) == 64
    with pytest.raises(QuestionError, match="65 tokens"):
        tokenizer.encode("red " * 64, 64)
    with pytest.raises(QuestionError, match="characters"):
        tokenizer.encode("red " * 1_000_000, 64)


@pytest.mark.parametrize("text", [None, 7, b"red"])
def test_what_is_no_text_is_refused(tokenizer, text):
    with pytest.raises(QuestionError, match="need a str"):
        tokenizer.encode(text, 64)


def test_any_unicode_is_unknown_and_no_crash(tokenizer):
    for text in ("日本語?", "😀", "e\u0301", "\u202egnp.exe", "ﬁ"):
        assert tokenizer.encode(text, 64)[-1] == 1


@pytest.mark.parametrize("text", ["is there <pad> a star?", "a star </s> a circle", "</s>"])
def test_the_signs_of_the_model_are_mere_text(tokenizer, text):
    ids = tokenizer.encode(text, 64)
    assert ids[-1] == 1
    assert not set(ids[:-1].tolist()) & {0, 1}
    assert tokenizer.unknown_words(text)


def test_a_vocabulary_without_a_word_for_the_unknown_is_refused():
    data = json.dumps(
        {
            "version": "1.0",
            "added_tokens": [],
            "model": {"type": "WordLevel", "vocab": {"<pad>": 0, "</s>": 1}, "unk_token": "?"},
        }
    )
    with pytest.raises(BundleFormatError, match="does not know"):
        Tokenizer.from_json(data.encode(), vocab_size=8)


def test_an_added_sign_that_is_not_special_is_refused():
    data = json.dumps(
        {
            "version": "1.0",
            "added_tokens": [
                {
                    "id": 1,
                    "content": "</s>",
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": False,
                }
            ],
            "pre_tokenizer": {"type": "Whitespace"},
            "model": {
                "type": "WordLevel",
                "vocab": {"<pad>": 0, "</s>": 1, "<unk>": 2},
                "unk_token": "<unk>",
            },
        }
    )
    tokenizer = Tokenizer.from_json(data.encode(), vocab_size=8)
    with pytest.raises(QuestionError, match="signs of the model"):
        tokenizer.encode("a </s> b", 64)


@pytest.mark.parametrize(
    ("kind", "component"),
    [
        ("normalizer", {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}),
        (
            "normalizer",
            {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "a" * 1_000}]},
        ),
        ("normalizer", {"type": "Sequence", "normalizers": {}}),
        (
            "pre_tokenizer",
            {
                "type": "Split",
                "pattern": {"Regex": "(a+)+$"},
                "behavior": "Isolated",
                "invert": False,
            },
        ),
        ("decoder", {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}),
        ("post_processor", {"type": "BertProcessing", "sep": ["a", 3], "cls": ["b", 4]}),
        ("model", None),
        ("model", {"type": "Other"}),
    ],
)
def test_parts_by_which_text_could_grow_or_take_for_ever_are_refused(bundle, kind, component):
    layout = json.loads((bundle / "tokenizer.json").read_text())
    layout[kind] = component
    with pytest.raises(BundleFormatError, match=f"the {kind} .*allowed: "):
        Tokenizer.from_json(json.dumps(layout).encode(), vocab_size=128)
