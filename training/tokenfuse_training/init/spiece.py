"""SentencePiece's model file (`spiece.model`, a protobuf), as far as a T5's tokenizer needs it.

Fields that it does not know, which differ between versions of the format, are passed over.
"""

from __future__ import annotations

import dataclasses
import math
import struct

from tokenfuse_sdk.protobuf import BYTES, FOUR_BYTES, VARINT, Message, WireReader
from tokenfuse_training.errors import InitError

__all__ = ["SentencePieces", "read_spiece"]

_UNIGRAM, _USER_DEFINED = 1, 4
# A million pieces, of four fields each.
_MAX_FIELDS = 1 << 22
_MAX_PIECE_BYTES = 1 << 10
# Fields of ModelProto, of a piece, of TrainerSpec and of NormalizerSpec.
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_TEXT, _SCORE, _TYPE = 1, 2, 3
_MODEL_TYPE, _BYTE_FALLBACK, _UNKNOWN_ID = 3, 35, 40
_TABLE, _DUMMY_PREFIX, _EXTRA_SPACES, _ESCAPE = 2, 3, 4, 5
_MODEL = Message(
    "the model",
    once={_TRAINER: BYTES, _NORMALIZER: BYTES},
    many={_PIECES: BYTES},
    has_others=True,
)
_PIECE = Message(
    "a piece", once={_TEXT: BYTES, _SCORE: FOUR_BYTES, _TYPE: VARINT}, many={}, has_others=True
)
_TRAINER_FIELDS = Message(
    "the trainer",
    once={_MODEL_TYPE: VARINT, _BYTE_FALLBACK: VARINT, _UNKNOWN_ID: VARINT},
    many={},
    has_others=True,
)
_NORMALIZER_FIELDS = Message(
    "the normaliser",
    once={_TABLE: BYTES, _DUMMY_PREFIX: VARINT, _EXTRA_SPACES: VARINT, _ESCAPE: VARINT},
    many={},
    has_others=True,
)


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


def read_spiece(data: bytes, name: str) -> SentencePieces:
    """Read the file.

    Args:
        data: the file.
        name: for messages.

    Raises:
        InitError: damaged, or made of what a T5's tokenizer is not.
    """

    def refusal(what: str) -> InitError:
        return InitError(f"{what}; it is no SentencePiece model, or was damaged: fetch it again")

    reader = WireReader(memoryview(data), name, _MAX_FIELDS, refusal)
    pieces: list[tuple[str, float]] = []
    trainer: dict[int, int] = {}
    flags: dict[int, int] = {}
    table, is_user_defined = b"", False
    for number, a, b in reader.fields(0, len(data), _MODEL):
        if number == _PIECES:
            text, score = None, 0.0
            for field, begin, end in reader.fields(a, b, _PIECE):
                if field == _TEXT:
                    text = reader.text(begin, end, "a piece", _MAX_PIECE_BYTES)
                elif field == _SCORE:
                    (score,) = struct.unpack("<f", reader.data[begin:end])
                else:
                    is_user_defined = is_user_defined or begin == _USER_DEFINED
            if text is None or not math.isfinite(score):
                raise reader.error(f"has the piece {text!r} with the score {score}")
            pieces.append((text, score))
        elif number == _TRAINER:
            trainer = {field: value for field, value, _ in reader.fields(a, b, _TRAINER_FIELDS)}
        else:
            for field, begin, end in reader.fields(a, b, _NORMALIZER_FIELDS):
                if field == _TABLE:
                    table = bytes(reader.data[begin:end])
                else:
                    flags[field] = begin
    if not pieces:
        raise InitError(f"{name} has no pieces; fetch it again")
    if is_user_defined:
        raise InitError(f"{name} has pieces of a user's own, which a T5's has not; it is not read")
    if trainer.get(_MODEL_TYPE, _UNIGRAM) != _UNIGRAM or trainer.get(_BYTE_FALLBACK):
        raise InitError(f"{name} is not the unigram model, without bytes, that a T5 has")
    # One that is not there is true.
    if not all(flags.values()):
        raise InitError(f"{name} treats spaces otherwise than a T5's; it cannot be converted")
    return SentencePieces(pieces=tuple(pieces), unknown_id=trainer.get(_UNKNOWN_ID, 0), table=table)
