"""SentencePiece's table of characters: is it NFKC, which is what a bundle may have?

The table is a double array (a trie in one array) and the texts that its leaves point to. A hostile
one could make text grow without bound, so bundles hold none, and it is read here, not run.
"""

from __future__ import annotations

import unicodedata

import numpy as np

__all__ = ["differs_from_nfkc"]

# Where people write: Latin, Greek, Cyrillic, kana, CJK, Hangul, half and full width.
_RANGES = (
    (0x20, 0x7F),
    (0xA0, 0x250),
    (0x370, 0x530),
    (0x2010, 0x2028),
    (0x3000, 0x3100),
    (0x4E00, 0x4F00),
    (0xAC00, 0xAD00),
    (0xFF01, 0xFF5E),
)
_LOW, _HIGH_BIT = 0xFF, 1 << 31
# The usual table has 190 KB.
_MAX_BYTES = 8 << 20


class _Table:
    """Raises ValueError or IndexError where it is damaged."""

    def __init__(self, data: bytes) -> None:
        size = int.from_bytes(data[:4], "little")
        if len(data) < 4 or size % 4 or not 0 < size <= min(len(data) - 4, _MAX_BYTES):
            raise ValueError("no table of characters")
        self._units = np.frombuffer(data, "<u4", size // 4, 4).tolist()
        self._texts = data[4 + size :]

    def text_of(self, character: str) -> str:
        """What the table makes of a character by itself."""
        units, at = self._units, 0
        unit = units[0]
        at ^= _offset(unit)
        for byte in character.encode():
            at ^= byte
            unit = units[at]
            if unit & (_HIGH_BIT | _LOW) != byte:
                return character
            at ^= _offset(unit)
        if not unit >> 8 & 1:
            return character
        begin = units[at] & (_HIGH_BIT - 1)
        return self._texts[begin : self._texts.index(b"\0", begin)].decode()


def _offset(unit: int) -> int:
    return (unit >> 10) << ((unit & 1 << 9) >> 6)


def differs_from_nfkc(table: bytes) -> str | None:
    """A character of ordinary text that the table does not make what NFKC makes of it, or None.

    What is no text differs in the usual table (`nmt_nfkc`): marks of no width become spaces or
    nothing. So does a letter that a Unicode version of later has.

    Args:
        table: `precompiled_charsmap` of a SentencePiece model.
    """
    try:
        characters = _Table(table)
        for begin, end in _RANGES:
            for code in range(begin, end):
                character = chr(code)
                if unicodedata.category(character) in ("Cn", "Cf"):
                    continue
                made, want = characters.text_of(character), unicodedata.normalize("NFKC", character)
                if made != want:
                    return character
    except (ValueError, IndexError):
        return "\ufffd"
    return None
