"""Text to ids and back, by the bundle's `tokenizer.json`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from tokenfuse_sdk.errors import BundleFormatError, QuestionError
from tokenfuse_sdk.strict_json import parse_object

if TYPE_CHECKING:
    import tokenizers

__all__ = ["Tokenizer", "is_control"]

_PAD_ID, _EOS_ID = 0, 1
# No vocabulary has it: a private-use character.
_NO_WORD = "\ue000"


# What a tokenizer.json may be made of. The library has more, but a hostile file could make text
# grow without bound (Replace, Prepend, Precompiled) or take exponential time (Split by a regular
# expression), and the library would end the process.
_ALLOWED = {
    "normalizer": {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "StripAccents"},
    "pre_tokenizer": {"Whitespace", "WhitespaceSplit", "Punctuation", "Digits", "Metaspace"},
    "post_processor": set[str](),
    "decoder": {"WordPiece", "Metaspace", "Fuse"},
    "model": {"WordLevel", "WordPiece", "BPE", "Unigram"},
}
_SEQUENCES = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "decoder": "decoders"}


def _check_component(kind: str, component: object) -> None:
    """Raise BundleFormatError unless it is one of `_ALLOWED`, or a sequence of such."""
    if component is None and kind != "model":
        return
    fields = component if isinstance(component, dict) else {}
    name = fields.get("type")
    if name == "Sequence" and kind in _SEQUENCES:
        parts = fields.get(_SEQUENCES[kind])
        for part in parts if isinstance(parts, list) else [None, "no list"]:
            _check_component(kind, part)
    elif not isinstance(name, str) or name not in _ALLOWED[kind]:
        allowed = ", ".join(sorted(_ALLOWED[kind])) or "none"
        raise BundleFormatError(f"tokenizer.json has the {kind} {name!r}; allowed: {allowed}")


def is_control(character: str) -> bool:
    """Whether a terminal would obey it; tabs and line ends are text."""
    code = ord(character)
    return (code < 32 and character not in "\t\n\r") or 127 <= code < 160


class Tokenizer:
    """A Hugging Face `tokenizers` model with pad id 0 and end id 1; thread-safe."""

    def __init__(self, inner: tokenizers.Tokenizer, unknown_id: int | None) -> None:
        self._inner = inner
        self._unknown_id = unknown_id

    @classmethod
    def from_json(cls, data: bytes, *, vocab_size: int) -> Tokenizer:
        """Read a `tokenizer.json`.

        Args:
            data: the file.
            vocab_size: rows of the model's embedding; ids must stay below.

        Raises:
            BundleFormatError: not a tokenizer, made of other parts than are allowed, or not one
                for this model.
        """
        # Here, where a thread hashes the weights meanwhile.
        import tokenizers

        layout = parse_object(data, "tokenizer.json")
        for kind in _ALLOWED:
            _check_component(kind, layout.get(kind))
        # As large as the vocabulary, which comes next.
        del layout
        try:
            inner = tokenizers.Tokenizer.from_str(data.decode("utf-8"))
        except Exception as error:  # the library raises plain Exception
            raise BundleFormatError(f"tokenizer.json is not a tokenizer: {error}") from error
        vocabulary = inner.get_vocab(with_added_tokens=True)
        highest = max(vocabulary.values(), default=-1)
        if highest >= vocab_size:
            raise BundleFormatError(
                f"tokenizer.json has ids up to {highest}; config.json has room for {vocab_size}"
            )
        if vocabulary.get("<pad>") != _PAD_ID or vocabulary.get("</s>") != _EOS_ID:
            raise BundleFormatError("tokenizer.json needs <pad> as id 0 and </s> as id 1")
        # A file may ask for padding or truncation; both are ours to decide.
        inner.no_padding()
        inner.no_truncation()
        # "</s>" in a question is text, not its end.
        inner.encode_special_tokens = True
        try:
            inner.encode(_NO_WORD, add_special_tokens=False)
        except Exception as error:  # the library raises plain Exception
            raise BundleFormatError(
                f"tokenizer.json cannot take a word that it does not know: {error}"
            ) from error
        return cls(inner, vocabulary.get("<unk>"))

    @property
    def vocab_size(self) -> int:
        """Entries of the vocabulary."""
        return int(self._inner.get_vocab_size(with_added_tokens=True))

    def token_id(self, token: str) -> int | None:
        """Id of an entry of the vocabulary; None where it has no such entry."""
        id_ = self._inner.token_to_id(token)
        return None if id_ is None else int(id_)

    def encode(self, text: str, max_tokens: int) -> np.ndarray:
        """Ids int32 (L,) with the end id last, L <= max_tokens.

        Raises:
            QuestionError: not text, nothing but blanks, control characters, or too long.
        """
        if not isinstance(text, str):
            raise QuestionError(f"the text is a {type(text).__name__}; need a str")
        if not text.strip():
            raise QuestionError("the text is empty; ask something")
        # Each token takes at least one character, or is one of few blanks: what is far
        # longer than the limit is not worth tokenising.
        if len(text) > 256 * max_tokens:
            raise QuestionError(
                f"the text has {len(text)} characters; at most {256 * max_tokens}. Shorten it"
            )
        for character in text:
            if is_control(character) or 0xD800 <= ord(character) < 0xE000:
                raise QuestionError(f"the text has the character {character!r}; remove it")
        ids = [*self._encode(text).ids, _EOS_ID]
        if _PAD_ID in ids or _EOS_ID in ids[:-1]:
            raise QuestionError(
                f"the text {text!r} holds <pad> or </s>, which are signs of the model"
            )
        if len(ids) > max_tokens:
            raise QuestionError(
                f"the text has {len(ids)} tokens with its end; at most {max_tokens}. Shorten it"
            )
        return np.asarray(ids, dtype=np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids, without pad and end."""
        kept = [int(i) for i in ids if int(i) not in (_PAD_ID, _EOS_ID)]
        return str(self._inner.decode(kept, skip_special_tokens=False))

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """The pieces of `text` that the vocabulary does not have, each once, in order."""
        if self._unknown_id is None:
            return ()
        encoding = self._encode(text)
        pieces = [
            text[start:end]
            for i, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
            if i == self._unknown_id
        ]
        return tuple(dict.fromkeys(pieces))

    def _encode(self, text: str) -> tokenizers.Encoding:
        return self._inner.encode(text, add_special_tokens=False)
