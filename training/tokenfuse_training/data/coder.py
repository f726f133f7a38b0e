"""Text to ids for training: prompts and targets within the model's lengths, and mask signs."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tokenfuse_sdk.errors import ConfigError, QuestionError
from tokenfuse_sdk.tokenizer import Tokenizer
from tokenfuse_training.errors import BadRecordError

__all__ = ["EOS_ID", "PAD_ID", "TextCoder", "padded"]

PAD_ID, EOS_ID = 0, 1
# Of a text that is cut or masked before it becomes a prompt or a target. A caption of a web page
# that is longer is no caption.
_MAX_TEXT_TOKENS = 4096


def padded(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Rows of ids as one int64 array, as wide as the longest."""
    ids = np.full((len(rows), max(map(len, rows))), PAD_ID, dtype=np.int64)
    for place, row in zip(ids, rows, strict=True):
        place[: len(row)] = row
    return ids


class TextCoder:
    """The SDK's tokenizer with the lengths of one model; pickles to workers.

    Args:
        tokenizer_json: the file, as a bundle holds it.
        vocab_size: rows of the model's embedding.
        max_text_tokens, max_answer_tokens: the model's longest prompt and target, both with
            their end id.

    Raises:
        BundleFormatError: not a tokenizer for this model.
    """

    def __init__(
        self,
        tokenizer_json: bytes,
        *,
        vocab_size: int,
        max_text_tokens: int,
        max_answer_tokens: int,
    ) -> None:
        self._tokenizer_json = tokenizer_json
        self._vocab_size = vocab_size
        self.max_text_tokens = max_text_tokens
        self.max_answer_tokens = max_answer_tokens
        self._tokenizer = Tokenizer.from_json(tokenizer_json, vocab_size=vocab_size)
        self._unknown_id = self._tokenizer.token_id("<unk>")

    def __reduce__(self) -> tuple[Any, ...]:
        sizes = {
            "vocab_size": self._vocab_size,
            "max_text_tokens": self.max_text_tokens,
            "max_answer_tokens": self.max_answer_tokens,
        }
        return functools.partial(TextCoder, self._tokenizer_json, **sizes), ()

    def encode(self, text: str) -> list[int]:
        """Ids of a text of any length up to 4,095 tokens, without an end id.

        Raises:
            BadRecordError: empty, too long, or with characters that no text has.
        """
        return self._ids(text, _MAX_TEXT_TOKENS)[:-1]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, without pad and end."""
        return self._tokenizer.decode(ids)

    def prompt_ids(self, prompt: str | Sequence[int]) -> list[int]:
        """Ids of a prompt with the end id behind.

        Raises:
            BadRecordError: empty, or longer than the model reads.
        """
        if isinstance(prompt, str):
            return self._ids(prompt, self.max_text_tokens)
        if not prompt:
            raise BadRecordError("the prompt has no tokens; need at least one")
        if len(prompt) >= self.max_text_tokens:
            raise BadRecordError(
                f"the prompt has {len(prompt) + 1} tokens with its end; at most "
                f"{self.max_text_tokens}"
            )
        return [*prompt, EOS_ID]

    def target_ids(self, target: str | Sequence[int]) -> list[int]:
        """Ids of a target with the end id behind.

        [D] One that is too long keeps its first tokens and has no end id, so that the model
        does not learn to stop there. [D] A text with words that the vocabulary does not have is
        refused: the model would learn to write "<unk>".

        Raises:
            BadRecordError: empty, or with words that the vocabulary does not have.
        """
        if isinstance(target, str):
            ids = self.encode(target)
            if self._unknown_id is not None and self._unknown_id in ids:
                words = ", ".join(map(repr, self._tokenizer.unknown_words(target)[:3]))
                raise BadRecordError(
                    f"the target {target[:80]!r} has words that the vocabulary does not have: "
                    f"{words}"
                )
        else:
            ids = list(target)
        if not ids:
            raise BadRecordError("the target has no tokens; need at least one")
        return [*ids, EOS_ID][: self.max_answer_tokens]

    @functools.cached_property
    def mask_ids(self) -> tuple[int, ...]:
        """Ids that stand for what is left out of a text, in their order of use.

        T5's sentinels `<extra_id_0>`, `<extra_id_1>`, ... where the vocabulary has them, else
        `<mask>`, else `<unk>`.

        Raises:
            ConfigError: it has none of these.
        """
        sentinels: list[int] = []
        while (id_ := self._tokenizer.token_id(f"<extra_id_{len(sentinels)}>")) is not None:
            sentinels.append(id_)
        if sentinels:
            return tuple(sentinels)
        for sign in ("<mask>", "<unk>"):
            id_ = self._tokenizer.token_id(sign)
            if id_ is not None:
                return (id_,)
        raise ConfigError(
            "the tokenizer has none of <extra_id_0>, <mask> and <unk>, which stand for words that "
            "are left out; use one that has, or leave out the task fill"
        )

    def _ids(self, text: str, max_tokens: int) -> list[int]:
        try:
            return self._tokenizer.encode(text, max_tokens).tolist()
        except QuestionError as error:
            raise BadRecordError(str(error)) from error
