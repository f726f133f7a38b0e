"""linear_int8: the integers exactly, the rest in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokenfuse_sdk.ops.reference.gelu import activate
from tokenfuse_sdk.ops.reference.quantize import quantize

__all__ = ["linear_int8"]


def linear_int8(
    x: NDArray[np.float32],
    weight: NDArray[np.int8],
    weight_scale: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    residual: ArrayLike | None = None,
    activation: str = "none",
) -> NDArray[np.float64]:
    """See `tokenfuse_sdk.ops.linear_int8`."""
    q, scale = quantize(x)
    sums = q.astype(np.int64) @ np.asarray(weight, dtype=np.int64).T
    y = sums * np.outer(scale.astype(np.float64), np.asarray(weight_scale, dtype=np.float64))
    if bias is not None:
        y = y + np.asarray(bias, dtype=np.float64)
    y = activate(y, activation)
    return y if residual is None else y + np.asarray(residual, dtype=np.float64)
