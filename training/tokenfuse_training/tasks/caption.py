"""Captioning: the picture alone, its caption to be written."""

from __future__ import annotations

import dataclasses

import numpy as np

from tokenfuse_training.data.record import Answer, Record
from tokenfuse_training.tasks.captions import captions_of, drawn
from tokenfuse_training.tasks.one_term import OneTerm
from tokenfuse_training.tasks.prefixes import PREFIXES
from tokenfuse_training.tasks.task import Text

__all__ = ["Caption"]


@dataclasses.dataclass(frozen=True, slots=True)
class Caption(OneTerm):
    """`caption:` → the caption [D].

    A caption that is longer than an answer may be is learned up to there, by the coder.
    """

    def texts(self, record: Record, draw: np.random.Generator, count: int) -> list[Text]:
        """At most `count` of the record's captions.

        Raises:
            BadRecordError: no caption, or an empty one.
        """
        return [
            Text(prompt=PREFIXES["caption"], targets=(Answer(text=" ".join(words)),))
            for words in drawn(captions_of(record), count, draw)
        ]
