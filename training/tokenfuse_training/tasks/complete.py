"""Caption completion: the first words of a caption, the others to be written."""

from __future__ import annotations

import dataclasses

import numpy as np

from tokenfuse_training.data.coder import TextCoder
from tokenfuse_training.data.record import Answer, Record
from tokenfuse_training.tasks.captions import captions_of, drawn, fitting
from tokenfuse_training.tasks.one_term import OneTerm
from tokenfuse_training.tasks.prefixes import prompt
from tokenfuse_training.tasks.task import Text

__all__ = ["Complete"]


@dataclasses.dataclass(frozen=True, slots=True)
class Complete(OneTerm):
    """`complete: w₁ … w_c` → `w_{c+1} … w_n`, c uniform over 1 … n - 1 [D].

    Where not all of w₁ … w_{n-1} fit a prompt, c is at most what fits.
    """

    coder: TextCoder

    def texts(self, record: Record, draw: np.random.Generator, count: int) -> list[Text]:
        """At most `count` of the record's captions, each cut once.

        Raises:
            BadRecordError: no caption of at least two words, or an empty one.
        """
        captions = drawn(captions_of(record, least_words=2), count, draw)
        return [self._cut(words, draw) for words in captions]

    def _cut(self, words: list[str], draw: np.random.Generator) -> Text:
        longest = len(fitting(self.coder, "complete", words[:-1]))
        cut = int(draw.integers(1, longest + 1))
        return Text(
            prompt=prompt("complete", " ".join(words[:cut])),
            targets=(Answer(text=" ".join(words[cut:])),),
        )
