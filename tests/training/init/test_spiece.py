"""A spiece.model field by field: what differs between versions is passed over, damage is named."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenfuse_training.errors import InitError
from tokenfuse_training.init.spiece import read_spiece


def piece(text: bytes, score: float = -1.0, more: bytes = b"") -> bytes:
    body = b"\x0a" + bytes([len(text)]) + text + b"\x15" + struct.pack("<f", score) + more
    return b"\x0a" + bytes([len(body)]) + body


# Fields that no version has yet: number 17 of each kind, in two bytes of tag.
LATER = b"".join(
    (b"\x88\x01\x05", b"\x89\x01" + bytes(8), b"\x8a\x01\x02hi", b"\x8d\x01" + bytes(4))
)
# TrainerSpec: unigram, the unknown piece is number 1. NormalizerSpec: a table of two bytes.
TRAINER = b"\x12\x05\x18\x01\xc0\x02\x01"
NORMALIZER = b"\x1a\x04\x12\x02ab"


def test_fields_of_other_versions_are_passed_over(spiece):
    plain = piece(b"a") + piece("é".encode(), -2.5) + TRAINER + NORMALIZER
    read = read_spiece(plain, "spiece.model")
    assert read.pieces == (("a", -1.0), ("é", -2.5))
    assert (read.unknown_id, read.table) == (1, b"ab")
    assert read_spiece(LATER + plain + LATER, "spiece.model") == read
    trainer = b"\x12" + bytes([5 + len(LATER)]) + LATER + TRAINER[2:]
    later = piece(b"a", more=LATER) + piece("é".encode(), -2.5) + trainer + NORMALIZER
    assert read_spiece(later, "spiece.model") == read
    assert read_spiece(spiece + LATER, "spiece.model") == read_spiece(spiece, "spiece.model")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (piece(b"a") + b"\x08\x01", "field 1 of kind 0 in the model"),
        (piece(b"a") + TRAINER * 2, "field 2 twice in the model"),
        (piece(b"a", more=b"\x18\x01\x18\x01"), "field 3 twice in a piece"),
        (piece(b"a") + b"\x8b\x01", "field 17 of kind 3"),
        (piece(b"a") + b"\x8f\x01", "field 17 of kind 7"),
        (piece(b"a") + b"\x8a\x01\x09hi", "9 bytes; 2 are left"),
        (piece(b"a") + b"\x88\x01" + b"\xff" * 10, "more than 10 bytes"),
        (piece(b"a") + b"\x88\x01\xff", "truncated"),
        (piece(b"\xff"), "not UTF-8"),
        (piece(b"a", float("nan")), "the score nan"),
        (b"\x0a\x00", "the piece None"),
        (piece(b"a", more=b"\x18\x04"), "pieces of a user's own"),
        (piece(b"a") + b"\x12\x02\x18\x02", "not the unigram model"),
        (piece(b"a") + b"\x1a\x02\x18\x00", "treats spaces otherwise"),
        (TRAINER, "no pieces"),
    ],
)
def test_what_is_wrong_is_said(data, words):
    with pytest.raises(InitError, match=r"^spiece\.model ") as error:
        read_spiece(data, "spiece.model")
    assert words in str(error.value)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_flipped_bytes_of_pieces_are_no_crash(spiece, tmp_path_factory, data):
    changed = bytearray(spiece[:3000])
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InitError):
        read_spiece(bytes(changed), "spiece.model")
