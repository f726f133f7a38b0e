"""Ids within the model's lengths; what cannot be said is a bad record."""

from __future__ import annotations

import json
import pickle

import pytest

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.data.coder import TextCoder
from tokenfuse_training.errors import BadRecordError


def word_coder(*words: str, **lengths: int) -> TextCoder:
    """A coder whose ids are the places of its words behind <pad> and </s>."""
    vocabulary = {word: i for i, word in enumerate(("<pad>", "</s>", *words))}
    layout = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }
    sizes = {"max_text_tokens": 5, "max_answer_tokens": 3, **lengths}
    return TextCoder(json.dumps(layout).encode(), vocab_size=64, **sizes)


@pytest.fixture(scope="module")
def words():
    return word_coder("<unk>", "a", "b", "c")


def test_prompts_and_targets_end_and_targets_are_cut(words):
    assert words.encode("a b c a b c") == [3, 4, 5, 3, 4, 5]
    assert words.prompt_ids("a b c a") == [3, 4, 5, 3, 1]
    assert words.prompt_ids((4, 4)) == [4, 4, 1]
    assert words.target_ids("a b") == [3, 4, 1]
    assert words.target_ids((5, 5)) == [5, 5, 1]
    # Longer than the model writes: no end, where none is.
    assert words.target_ids("a b c a") == [3, 4, 5]
    assert words.target_ids("a b c") == [3, 4, 5]
    assert words.decode([3, 4, 1, 0]).split() == ["a", "b"]


@pytest.mark.parametrize(
    ("method", "given", "says"),
    [
        ("prompt_ids", "", "empty"),
        ("prompt_ids", "  \n", "empty"),
        ("prompt_ids", (), "no tokens"),
        ("prompt_ids", "a a a a a", "6 tokens with its end; at most 5"),
        ("prompt_ids", (3,) * 5, "6 tokens with its end; at most 5"),
        ("prompt_ids", "a\x1b[2J", "character"),
        ("target_ids", "", "empty"),
        ("target_ids", (), "no tokens"),
        ("target_ids", "a zebra", "vocabulary does not have: 'zebra'"),
        ("encode", "a " * 5000, "tokens"),
    ],
)
def test_what_cannot_be_used_is_a_bad_record(words, method, given, says):
    with pytest.raises(BadRecordError, match=says):
        getattr(words, method)(given)


def test_prompts_may_hold_words_that_nobody_knows(words):
    assert words.prompt_ids("a zebra") == [3, 2, 1]


@pytest.mark.parametrize(
    ("vocabulary", "ids"),
    [
        (("<unk>", "<extra_id_1>", "<mask>", "<extra_id_0>", "<extra_id_3>"), (5, 3)),
        (("<unk>", "<mask>"), (3,)),
        (("<unk>", "a"), (2,)),
    ],
)
def test_masks_are_sentinels_else_a_mask_else_unknown(vocabulary, ids):
    assert word_coder(*vocabulary).mask_ids == ids


def test_a_vocabulary_without_any_mask_is_named():
    data = json.dumps(
        {
            "version": "1.0",
            "added_tokens": [],
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "model": {
                "type": "Unigram",
                "unk_id": 2,
                "vocab": [["<pad>", 0.0], ["</s>", 0.0], ["a", -1.0]],
            },
        }
    ).encode()
    coder = TextCoder(data, vocab_size=8, max_text_tokens=5, max_answer_tokens=3)
    with pytest.raises(ConfigError, match="extra_id_0"):
        _ = coder.mask_ids


def test_it_passes_between_processes(words):
    copy = pickle.loads(pickle.dumps(words))
    assert copy.prompt_ids("a b") == words.prompt_ids("a b")
    assert (copy.max_text_tokens, copy.max_answer_tokens) == (5, 3)
