"""Captions as words: which a record has, which are drawn, and how many fit a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from tokenfuse_training.data.coder import TextCoder
from tokenfuse_training.data.record import Record
from tokenfuse_training.errors import BadRecordError
from tokenfuse_training.tasks.prefixes import PREFIXES

__all__ = ["captions_of", "drawn", "fitting", "words_of"]

_Item = TypeVar("_Item")


def words_of(text: str) -> list[str]:
    """Words of a text: joined by blanks they are the text, its blanks single.

    What stands alone without a letter or digit (`dog .`) belongs to the word before it, so that
    no word can be told without looking.
    """
    words: list[str] = []
    lead = ""
    for piece in text.split():
        if piece.isalnum() or any(character.isalnum() for character in piece):
            words.append(f"{lead}{piece}")
            lead = ""
        elif words:
            words[-1] = f"{words[-1]} {piece}"
        else:
            lead = f"{lead}{piece} "
    return words


def captions_of(record: Record, *, least_words: int = 1) -> list[list[str]]:
    """The captions of a record as words, those that are long enough.

    Raises:
        BadRecordError: it has none, or an empty one, or none that is long enough.
    """
    if not record.captions:
        raise BadRecordError("there is no caption")
    captions = [words_of(caption) for caption in record.captions]
    for place, words in enumerate(captions):
        if not words:
            raise BadRecordError(
                f"caption {place} is {record.captions[place]!r}: need at least one letter or digit"
            )
    long_enough = [words for words in captions if len(words) >= least_words]
    if not long_enough:
        raise BadRecordError(
            f"no caption has at least {least_words} words: {record.captions[0][:80]!r}"
        )
    return long_enough


def drawn(items: Sequence[_Item], count: int, draw: np.random.Generator) -> list[_Item]:
    """At most `count` of them, each once, in random order."""
    if len(items) == 1:
        return list(items[:count])
    return [items[place] for place in draw.permutation(len(items))[:count].tolist()]


def fitting(coder: TextCoder, task: str, words: Sequence[str]) -> list[str]:
    """As many of the first words as a prompt of the task has room for.

    [D] A caption is cut where it is too long to be read, for its beginning is a caption too; a
    question is not, for its beginning asks something else.

    Raises:
        BadRecordError: not even the first one fits, or a character that no text has.
    """
    # A word is at least one token.
    words = list(words[: coder.max_text_tokens])

    def fits(count: int) -> bool:
        text = " ".join((PREFIXES[task], *words[:count]))
        # A token is at least one character, where one character cannot become several; a
        # tokenizer may put a blank in front, and the end id is one more. Most captions end here.
        if text.isascii() and len(text) + 2 <= coder.max_text_tokens:
            return True
        return len(coder.encode(text)) < coder.max_text_tokens

    if fits(len(words)):
        return words
    good, bad = 0, len(words)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    if not good:
        raise BadRecordError(
            f"the word {words[0][:80]!r} does not fit a prompt of {coder.max_text_tokens} tokens"
        )
    return words[:good]
