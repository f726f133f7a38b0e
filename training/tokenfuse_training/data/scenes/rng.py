"""Random numbers that are the same on every machine, NumPy and Python.

Only `Philox.random_raw` is used: a counter-based generator whose key is set
directly, so that no seed hashing and no distribution code, which NumPy may
change between versions, takes part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

SPLITS = ("train", "val", "test")
STREAMS = ("scene", "questions", "noise", "texts", "digit_split", "stones")

_T = TypeVar("_T")
_BLOCK = 64


def stream_key(seed: int, split: str, index: int, stream: str) -> int:
    """The 128-bit Philox key of one stream of scene `index`.

    Key = seed · 2^64 + split · 2^60 + stream · 2^56 + index, so that no two streams share one.
    """
    if not 0 <= seed < 1 << 63:
        raise ValueError(f"seed={seed}: need 0 <= seed < 2^63")
    if not 0 <= index < 1 << 56:
        raise ValueError(f"index={index}: need 0 <= index < 2^56")
    if split not in SPLITS:
        raise ValueError(f"split={split!r}: need one of {', '.join(SPLITS)}")
    tag = (SPLITS.index(split) << 60) | (STREAMS.index(stream) << 56) | index
    return (seed << 64) | tag


class Rng:
    """Integers, choices and shuffles from one Philox stream.

    Args:
        key: 128-bit key, as `stream_key` makes it.
    """

    __slots__ = ("_bits", "_block")

    def __init__(self, key: int) -> None:
        self._bits = np.random.Philox(key=key)
        self._block: list[int] = []

    def below(self, n: int) -> int:
        """An integer in [0, n); its bias, n / 2^64, is far below anything measurable."""
        if not self._block:
            self._block = self._bits.random_raw(_BLOCK).tolist()
            self._block.reverse()
        return (self._block.pop() * n) >> 64

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high], both ends included."""
        return low + self.below(high - low + 1)

    def chance(self, percent: int) -> bool:
        """True in `percent` of 100 cases."""
        return self.below(100) < percent

    def choice(self, items: Sequence[_T]) -> _T:
        """One item, each as likely."""
        return items[self.below(len(items))]

    def weighted(self, items: Sequence[_T], weights: Sequence[int]) -> _T:
        """One item, with probability weight / sum of weights."""
        rest = self.below(sum(weights))
        for item, weight in zip(items, weights, strict=True):
            rest -= weight
            if rest < 0:
                return item
        raise AssertionError("unreachable: weights sum to more than the draw")

    def shuffled(self, items: Sequence[_T]) -> list[_T]:
        """A copy in random order (Fisher-Yates)."""
        out = list(items)
        for i in range(len(out) - 1, 0, -1):
            j = self.below(i + 1)
            out[i], out[j] = out[j], out[i]
        return out


def noise_bytes(key: int, count: int) -> np.ndarray:
    """`count` random bytes, uint8, least significant byte of each draw first."""
    raw = np.random.Philox(key=key).random_raw((count + 7) // 8)
    return raw.astype("<u8", copy=False).view(np.uint8)[:count]
