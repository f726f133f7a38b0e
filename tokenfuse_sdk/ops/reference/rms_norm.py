"""rms_norm in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["rms_norm"]


def rms_norm(x: ArrayLike, weight: ArrayLike, *, eps: float = 1e-6) -> NDArray[np.float64]:
    """See `tokenfuse_sdk.ops.rms_norm`."""
    x = np.asarray(x, dtype=np.float64)
    mean_square = (x**2).mean(axis=-1, keepdims=True)
    y: NDArray[np.float64] = x / np.sqrt(mean_square + eps) * np.asarray(weight, np.float64)
    return y
