"""SentencePiece's model file (`spiece.model`, a protobuf), as far as a T5's tokenizer needs it.

The reader passes over fields that it does not know, which differ between versions of the format;
every length is checked against what is left.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Iterator

from tokenfuse_training.errors import InitError

__all__ = ["SentencePieces", "read_spiece"]

_UNIGRAM, _USER_DEFINED = 1, 4
_MAX_PIECES = 1 << 20
# Fields of ModelProto, of a piece, of TrainerSpec and of NormalizerSpec.
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_TEXT, _SCORE, _TYPE = 1, 2, 3
_MODEL_TYPE, _BYTE_FALLBACK, _UNKNOWN_ID = 3, 35, 40
_TABLE, _DUMMY_PREFIX, _EXTRA_SPACES, _ESCAPE = 2, 3, 4, 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SentencePieces:
    """A unigram model.

    Args:
        pieces: text and score, in the order of ids.
        unknown_id: of what no piece covers.
        table: of characters, empty for none.
    """

    pieces: tuple[tuple[str, float], ...]
    unknown_id: int
    table: bytes


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 10 bytes")


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            length, at = _varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of kind {kind}")
        if length > len(data) - at:
            raise ValueError(f"a field of {length} bytes where {len(data) - at} are left")
        yield tag >> 3, data[at : at + length]
        at += length


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where text should be")
    return value


def _number(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise ValueError("text where a number should be")
    return value


def read_spiece(data: bytes, name: str) -> SentencePieces:
    """Read the file.

    Args:
        data: the file.
        name: for messages.

    Raises:
        InitError: damaged, or made of what a T5's tokenizer is not.
    """
    pieces: list[tuple[str, float]] = []
    trainer: dict[int, int] = {}
    table, user_defined = b"", False
    flags: dict[int, int] = {}
    try:
        for number, value in _fields(memoryview(data)):
            if number == _PIECES:
                piece = dict(_fields(_bytes(value)))
                text = str(_bytes(piece[_TEXT]), "utf-8")
                (score,) = struct.unpack("<f", _bytes(piece.get(_SCORE, memoryview(bytes(4)))))
                if not math.isfinite(score):
                    raise ValueError(f"the score {score} of {text!r}")
                pieces.append((text, score))
                user_defined = user_defined or piece.get(_TYPE) == _USER_DEFINED
                if len(pieces) > _MAX_PIECES:
                    raise ValueError(f"more than {_MAX_PIECES} pieces")
            elif number == _TRAINER:
                trainer = {k: v for k, v in _fields(_bytes(value)) if isinstance(v, int)}
            elif number == _NORMALIZER:
                fields = dict(_fields(_bytes(value)))
                table = bytes(_bytes(fields.get(_TABLE, memoryview(b""))))
                names = (_DUMMY_PREFIX, _EXTRA_SPACES, _ESCAPE)
                flags = {key: _number(fields.get(key, 1)) for key in names}
    except (ValueError, KeyError, IndexError, struct.error) as error:
        raise InitError(f"{name} is no SentencePiece model, or was damaged: {error}") from error
    if not pieces:
        raise InitError(f"{name} has no pieces; fetch it again")
    if user_defined:
        raise InitError(f"{name} has pieces of a user's own, which a T5's has not; it is not read")
    if trainer.get(_MODEL_TYPE, _UNIGRAM) != _UNIGRAM or trainer.get(_BYTE_FALLBACK):
        raise InitError(f"{name} is not the unigram model, without bytes, that a T5 has")
    if not all(flags.values()):
        raise InitError(f"{name} treats spaces otherwise than a T5's; it cannot be converted")
    return SentencePieces(pieces=tuple(pieces), unknown_id=trainer.get(_UNKNOWN_ID, 0), table=table)
