"""Vocabularies of three kinds: with sentinels and pieces of words, with one mask, with none."""

from __future__ import annotations

import functools
import string

import numpy as np
import pytest

from tokenfuse_training.data.coder import TextCoder
from tokenfuse_training.data.record import Answer, Question, Record

_SIGNS = "answer caption complete match fill entail : yes no maybe , . ?"
_WORDS = "a the big small red blue dog cat runs sleeps on under grass table near two"


def _word_level(*masks: str) -> str:
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

    specials = ["<pad>", "</s>", "<unk>"]
    ids = {word: i for i, word in enumerate([*specials, *_SIGNS.split(), *_WORDS.split(), *masks])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in (*specials, *masks)])
    return tokenizer.to_str()


def _pieces() -> str:
    """As T5's: pieces of words behind a sign for the blank, and sentinels."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    sentinels = [f"<extra_id_{i}>" for i in range(4)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(f"▁{word}", -3.0) for word in ("a", "the", "dog", "ru", "gr", *_SIGNS.split()[:5])]
    pieces += [(piece, -4.0) for piece in ("ns", "ass", "ee", "▁")]
    pieces += [(sign, -6.0) for sign in (*string.ascii_letters, *string.punctuation, *"0123456789")]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True) for t in ("<pad>", "</s>", "<unk>", *sentinels)]
    )
    return tokenizer.to_str()


@pytest.fixture(scope="session")
def make_coder():
    """kind, longest prompt -> coder."""

    @functools.cache
    def make(kind: str, max_text_tokens: int = 64) -> TextCoder:
        masks = ["<mask>"] if kind == "mask" else []
        text = _pieces() if kind == "sentinels" else _word_level(*masks)
        return TextCoder(
            text.encode(), vocab_size=256, max_text_tokens=max_text_tokens, max_answer_tokens=64
        )

    return make


@pytest.fixture(scope="session")
def make_draw():
    """seed -> generator."""
    return lambda seed: np.random.Generator(np.random.Philox(key=seed))


@pytest.fixture(scope="session")
def make_record():
    """captions, and other fields -> record."""

    def make(*captions: str, **rest) -> Record:
        return Record(key="file/7", image=b"", captions=captions, **rest)

    return make


@pytest.fixture(scope="session")
def make_question():
    """text and (answer, weight) pairs -> question."""

    def make(text: str, *answers: tuple[str, float], kind: str = "") -> Question:
        found = tuple(Answer(text=answer, weight=weight) for answer, weight in answers)
        return Question(id="q1", text=text, answers=found, kind=kind)

    return make
