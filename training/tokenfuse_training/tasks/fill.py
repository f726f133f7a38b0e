"""Masked language modelling: words of a caption left out, to be written from the picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tokenfuse_training.data.coder import EOS_ID, TextCoder
from tokenfuse_training.data.record import Record
from tokenfuse_training.errors import BadRecordError
from tokenfuse_training.tasks.captions import captions_of, drawn, fitting
from tokenfuse_training.tasks.one_term import OneTerm
from tokenfuse_training.tasks.prefixes import PREFIXES
from tokenfuse_training.tasks.task import Text

__all__ = ["Fill", "draw_spans"]


def draw_spans(
    draw: np.random.Generator, num_words: int, num_masked: int, num_spans: int
) -> list[tuple[int, int]]:
    """Spans (begin, end) that together mask `num_masked` of `num_words` words.

    All ways to do so are alike: spans lie in distinct gaps between the words that stay (those at
    both ends count), so that two never touch. Needs num_spans <= num_masked and
    num_spans <= num_words - num_masked + 1.
    """
    gaps = sorted(draw.permutation(num_words - num_masked + 1)[:num_spans].tolist())
    cuts = sorted(draw.permutation(num_masked - 1)[: num_spans - 1].tolist())
    ends = [0, *(cut + 1 for cut in cuts), num_masked]
    return [
        (gap + ends[place], gap + ends[place + 1])  # what earlier spans took stands before it
        for place, gap in enumerate(gaps)
    ]


@dataclasses.dataclass(frozen=True, slots=True)
class Fill(OneTerm):
    """`fill: a <0> runs on the <1>` → `<0> dog <1> grass <2>` [D].

    T5's span corruption (Raffel et al. 2020, section 3.1.4) over whole words, with its share of
    15% and its mean length of 3. Unlike T5's, a span may begin the text as well as end it: in a
    text of ten words with one span, the last ones would be left out every time.

    With sentinels, a sentinel stands for each span, and the target has them too, with one more at
    its end. A vocabulary with one sign for all has that sign for each word, and the target is the
    words alone: their number tells which is which.

    Args:
        coder: text to ids.
        share: of the words, that are left out; at least one is, and at least one stays.
        mean_words: mean length of a span.
    """

    coder: TextCoder
    share: float = 0.15
    mean_words: float = 3.0
    sign_ids: tuple[int, ...] = dataclasses.field(init=False)
    mask_ids: frozenset[int] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sign_ids", tuple(self.coder.encode(PREFIXES["fill"])))
        object.__setattr__(self, "mask_ids", frozenset(self.coder.mask_ids))

    def texts(self, record: Record, draw: np.random.Generator, count: int) -> list[Text]:
        """At most `count` of the record's captions, each with its own words left out.

        Raises:
            BadRecordError: no caption of at least two words, or an empty one; the words left out
                are not in the vocabulary; or those that stay are not, and look like left out.
        """
        captions = drawn(captions_of(record, least_words=2), count, draw)
        return [self._filled(words, draw) for words in captions]

    def _filled(self, words: Sequence[str], draw: np.random.Generator) -> Text:
        words = fitting(self.coder, "fill", words)
        if len(words) < 2:
            raise BadRecordError(
                f"one word of the caption alone fits a prompt: {words[0][:80]!r}; need two"
            )
        masks = self.coder.mask_ids
        sentinels = len(masks) > 1
        num_masked = min(max(round(len(words) * self.share), 1), len(words) - 1)
        most = min(num_masked, len(words) - num_masked + 1)
        if sentinels:
            most = min(most, len(masks) - 1)
        num_spans = min(max(round(num_masked / self.mean_words), 1), most)

        prompt = list(self.sign_ids)
        target: list[int] = []
        behind = 0
        for place, (begin, end) in enumerate(draw_spans(draw, len(words), num_masked, num_spans)):
            prompt += self._kept(words[behind:begin])
            left_out = self._left_out(words[begin:end])
            if sentinels:
                prompt.append(masks[place])
                target.append(masks[place])
            else:
                prompt += masks * (end - begin)
            target += left_out
            behind = end
        prompt += self._kept(words[behind:])
        if sentinels:
            target.append(masks[num_spans])
        return Text(prompt=tuple(prompt), targets=(tuple(target),))

    def _kept(self, words: Sequence[str]) -> list[int]:
        if not words:
            return []
        ids = self.coder.encode(" ".join(words))
        # With sentinels too: no text may hold one.
        if not self.mask_ids.isdisjoint(ids):
            raise BadRecordError(
                f"{' '.join(words)[:80]!r} has words that the vocabulary does not have, and they "
                "look like what is left out; use a tokenizer with <mask>"
            )
        return ids

    def _left_out(self, words: Sequence[str]) -> list[int]:
        # As a target it may not have unknown words.
        ids = self.coder.target_ids(" ".join(words))
        return ids[:-1] if ids[-1] == EOS_ID else ids
