"""Image-text matching: whether a caption is of this picture."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from tokenfuse_training.data.coder import TextCoder
from tokenfuse_training.data.record import Answer, Record
from tokenfuse_training.errors import BadRecordError
from tokenfuse_training.tasks.captions import captions_of, drawn, fitting, words_of
from tokenfuse_training.tasks.one_term import OneTerm
from tokenfuse_training.tasks.prefixes import prompt
from tokenfuse_training.tasks.task import Text

__all__ = ["Match"]

_WORD = re.compile(r"\w+")


def _sounds(words: Sequence[str]) -> list[str]:
    """Lower case, without punctuation: what two captions must differ in."""
    found: list[str] = _WORD.findall(" ".join(words).lower())
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Match(OneTerm):
    """`match: <caption>` → `yes` where it is of this picture, `no` where of another one [D].

    Each is half of the texts: a single text is either with probability 1/2, two texts are one of
    each. There are no more than two, for a record has one caption of another picture. Both kinds
    of caption are drawn alike, so that nothing but the picture tells.
    """

    coder: TextCoder
    needs_other_caption = True

    def texts(self, record: Record, draw: np.random.Generator, count: int) -> list[Text]:
        """One text, or with `count` of 2 or more a pair.

        Raises:
            BadRecordError: no caption, or an empty one; no caption of another picture; or it is
                no other one: one of this picture is the same or begins with it, but for case
                and punctuation. Either answer's text would be refused, so that neither becomes
                rarer.
        """
        captions = captions_of(record)
        other = self._other(record, captions)
        (own,) = drawn(captions, 1, draw)
        pair = [
            self._text(fitting(self.coder, "match", own), "yes"),
            self._text(other, "no"),
        ]
        return drawn(pair, count, draw)

    def _other(self, record: Record, captions: Sequence[Sequence[str]]) -> list[str]:
        if record.other_caption is None:
            raise BadRecordError(
                "there is no caption of another picture, which the task match needs"
            )
        words = words_of(record.other_caption)
        if not words:
            raise BadRecordError(
                f"the other picture's caption is {record.other_caption!r}: need at least one "
                "letter or digit"
            )
        # It is compared as it will be read: cut, it might have become true.
        words = fitting(self.coder, "match", words)
        asked = _sounds(words)
        if any(_sounds(own)[: len(asked)] == asked for own in captions):
            raise BadRecordError(f"another picture has the same caption {' '.join(words)[:80]!r}")
        return words

    @staticmethod
    def _text(words: Sequence[str], answer: str) -> Text:
        return Text(prompt=prompt("match", " ".join(words)), targets=(Answer(text=answer),))
