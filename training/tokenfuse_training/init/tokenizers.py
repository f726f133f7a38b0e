"""The tokenizer of a run: that of scenes, or a file."""

from __future__ import annotations

import os
import pathlib

from tokenfuse_sdk.errors import BundleFormatError
from tokenfuse_sdk.plain_file import read_plain_file
from tokenfuse_sdk.strict_json import parse_object
from tokenfuse_sdk.tokenizer import Tokenizer
from tokenfuse_training.errors import InitError

__all__ = ["check_tokenizer", "num_ids", "read_tokenizer"]

# That of 250,000 words has 16 MB.
_MAX_BYTES = 64 << 20


def read_tokenizer(source: str) -> bytes:
    """The `tokenizer.json` that a config's `tokenizer` names.

    Args:
        source: `scenes`, or a tokenizer.json, or a folder that holds one.

    Raises:
        InitError: there is none.
    """
    if source == "scenes":
        from tokenfuse_training.data.scenes.vocabulary import build_tokenizer

        return build_tokenizer().to_str().encode()
    path = pathlib.Path(source)
    if path.is_dir():
        path = path / "tokenizer.json"
    try:
        return read_plain_file(path, max_bytes=_MAX_BYTES)
    except OSError as error:
        raise InitError(
            f"tokenizer={source!r} cannot be read: {error}; name `scenes`, a tokenizer.json or a "
            "folder that holds one"
        ) from error


def num_ids(tokenizer_json: bytes) -> int:
    """One more than the highest id."""
    import tokenizers

    parse_object(tokenizer_json, "tokenizer.json")
    try:
        inner = tokenizers.Tokenizer.from_str(os.fsdecode(tokenizer_json))
    except Exception as error:  # the library raises plain Exception
        raise BundleFormatError(f"tokenizer.json is not a tokenizer: {error}") from error
    return 1 + max(inner.get_vocab(with_added_tokens=True).values(), default=-1)


def check_tokenizer(tokenizer_json: bytes, vocab_size: int) -> None:
    """Raise BundleFormatError where a bundle of `vocab_size` words could not hold it."""
    Tokenizer.from_json(tokenizer_json, vocab_size=vocab_size)
