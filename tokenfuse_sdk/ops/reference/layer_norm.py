"""layer_norm in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["layer_norm"]


def layer_norm(
    x: ArrayLike, weight: ArrayLike, bias: ArrayLike, *, eps: float = 1e-6
) -> NDArray[np.float64]:
    """See `tokenfuse_sdk.ops.layer_norm`."""
    x = np.asarray(x, dtype=np.float64)
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    y: NDArray[np.float64] = centred / np.sqrt(variance + eps) * np.asarray(weight, np.float64)
    return y + np.asarray(bias, dtype=np.float64)
