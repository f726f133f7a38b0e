"""Softmax in float64 that no size of its argument upsets."""

from __future__ import annotations

import numpy as np

__all__ = ["softmax"]


def softmax(score_K: np.ndarray) -> np.ndarray:
    """exp(score) / Σ exp(score)."""
    weight_K = np.exp(score_K - score_K.max())
    return weight_K / weight_K.sum()
