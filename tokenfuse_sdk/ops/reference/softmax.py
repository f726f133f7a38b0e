"""Softmax over the last axis in float64, for the attention ops."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["softmax"]


def softmax(s: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights, and log of the sum of exp; a row without a finite score has zeros and -inf."""
    if not s.shape[-1]:
        return s, np.full(s.shape[:-1], -np.inf)
    top = s.max(axis=-1, keepdims=True)
    shift = np.where(np.isneginf(top), 0.0, top)
    terms = np.exp(s - shift)
    total = terms.sum(axis=-1, keepdims=True)
    weights = np.divide(terms, total, out=np.zeros_like(terms), where=total != 0.0)
    with np.errstate(divide="ignore"):
        lse = (shift + np.log(total))[..., 0]
    return weights, lse
