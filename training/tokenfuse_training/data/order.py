"""What is drawn when: pure functions of a key, the same on every rank and in every worker."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence

import numpy as np

__all__ = ["generator", "index_of", "mixed"]


def mixed(*key: int | str) -> int:
    """128 bits of a key of numbers and names; other keys give other bits."""
    data = json.dumps(key).encode("utf-8")
    return int.from_bytes(hashlib.blake2b(data, digest_size=16).digest(), "little")


def generator(*key: int | str) -> np.random.Generator:
    """A generator of its own for each key."""
    return np.random.Generator(np.random.Philox(key=mixed(*key)))


# Four tasks of a stage at the end of an epoch, twice over.
@functools.lru_cache(maxsize=8)
def _permutation(size: int, epoch: int, seed: tuple[int | str, ...]) -> np.ndarray:
    order = generator(*seed, epoch).permutation(size)
    return order.astype(np.uint32)


def index_of(position: int, size: int, *, seed: Sequence[int | str]) -> int:
    """Which of `size` records is sample `position`: each epoch is a permutation of its own."""
    assert 0 < size < 1 << 32, f"size={size}"
    epoch, place = divmod(position, size)
    return int(_permutation(size, epoch, tuple(seed))[place])
