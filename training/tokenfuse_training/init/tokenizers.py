"""The tokenizer of a run: that of scenes, or a file."""

from __future__ import annotations

import pathlib

from tokenfuse_sdk.plain_file import read_plain_file
from tokenfuse_sdk.strict_json import parse_object
from tokenfuse_sdk.tokenizer import Tokenizer
from tokenfuse_training.data.scenes.vocabulary import VOCABULARIES, build_tokenizer
from tokenfuse_training.errors import InitError
from tokenfuse_training.init.hf_tokenizer import from_spiece, from_tokenizer_json

__all__ = ["check_tokenizer", "num_ids", "read_tokenizer"]

_JSON, _PIECES, _SETTINGS = "tokenizer.json", "spiece.model", "tokenizer_config.json"
# That of 250,000 words has 16 MB.
_MAX_BYTES = 64 << 20
# Sentinels of a published T5, behind its pieces.
_EXTRA_IDS = 100


def read_tokenizer(source: str) -> bytes:
    """The `tokenizer.json` that a config's `tokenizer` names, as a bundle may hold it.

    Args:
        source: `scenes` or `scenes-pretrain`, a tokenizer.json, a spiece.model, or a folder that
            holds one of them.

    Raises:
        InitError: there is none, or it cannot be converted.
        BundleFormatError: no JSON.
    """
    if source in VOCABULARIES:
        return build_tokenizer(source).to_str().encode()
    path = pathlib.Path(source)
    if path.is_dir():
        names = [name for name in (_JSON, _PIECES) if (path / name).is_file()]
        if not names:
            raise InitError(
                f"the folder {source!r} has no {_JSON} and no {_PIECES}; name a tokenizer of its "
                "own with `tokenizer`"
            )
        path = path / names[0]
    data = _read(path)
    if path.suffix == ".model":
        return from_spiece(data, str(path), _num_extra_ids(path.parent / _SETTINGS))
    return from_tokenizer_json(data, str(path))


def _read(path: pathlib.Path) -> bytes:
    try:
        return read_plain_file(path, max_bytes=_MAX_BYTES, follow_links=False)
    except OSError as error:
        raise InitError(
            f"the tokenizer {path} cannot be read: {error}; name {' or '.join(VOCABULARIES)}, or a "
            f"plain file {_JSON} or {_PIECES}, or a folder that holds one"
        ) from error


def _num_extra_ids(path: pathlib.Path) -> int:
    if not path.is_file():
        return _EXTRA_IDS
    count = parse_object(_read(path), str(path)).get("extra_ids", _EXTRA_IDS)
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= 10_000:
        raise InitError(f"{path} has extra_ids={count!r}; need a number from 0 to 10000")
    return count


def num_ids(tokenizer_json: bytes) -> int:
    """One more than the highest id.

    Raises:
        BundleFormatError: it is not a tokenizer.
    """
    import tokenizers

    # Nothing that the library makes of other parts, before they are checked.
    check_tokenizer(tokenizer_json, 1 << 31)
    inner = tokenizers.Tokenizer.from_str(tokenizer_json.decode())
    return 1 + max(inner.get_vocab(with_added_tokens=True).values())


def check_tokenizer(tokenizer_json: bytes, vocab_size: int) -> None:
    """Raise BundleFormatError where a bundle of `vocab_size` words could not hold it."""
    Tokenizer.from_json(tokenizer_json, vocab_size=vocab_size)
