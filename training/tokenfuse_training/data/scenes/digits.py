"""Real handwritten digits, split by image into train, val and test."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from .rng import SPLITS, Rng, stream_key

_SPLIT_SEED = 1797
_TRAIN_PERCENT, _VAL_PERCENT = 70, 10


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DigitBank:
    """All digit images and which of them belong to which split.

    Args:
        images_NHW: uint8 [1797, 8, 8], ink from 0 to 16; read-only.
        values: the digit of each image.
        by_split: split -> for each digit 0 to 9, the image indices of that split.
    """

    images_NHW: np.ndarray
    values: tuple[int, ...]
    by_split: dict[str, tuple[tuple[int, ...], ...]]


@functools.lru_cache(maxsize=1)
def load_digit_bank() -> DigitBank:
    """Load scikit-learn's 1,797 digits and split each class 70/10/20, always the same way."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images_NHW = data.images.astype(np.uint8)
    images_NHW.setflags(write=False)
    values = tuple(int(v) for v in data.target)
    parts: dict[str, list[tuple[int, ...]]] = {split: [] for split in SPLITS}
    for digit in range(10):
        own = [i for i, v in enumerate(values) if v == digit]
        own = Rng(stream_key(_SPLIT_SEED, "train", digit, "digit_split")).shuffled(own)
        first = len(own) * _TRAIN_PERCENT // 100
        second = len(own) * (_TRAIN_PERCENT + _VAL_PERCENT) // 100
        cuts = (own[:first], own[first:second], own[second:])
        for split, indices in zip(SPLITS, cuts, strict=True):
            parts[split].append(tuple(sorted(indices)))
    by_split = {split: tuple(lists) for split, lists in parts.items()}
    return DigitBank(images_NHW=images_NHW, values=values, by_split=by_split)
