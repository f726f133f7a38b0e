"""conv2d in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokenfuse_sdk.ops.reference.gelu import activate

__all__ = ["conv2d"]


def conv2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    activation: str = "none",
) -> NDArray[np.float64]:
    """See `tokenfuse_sdk.ops.conv2d`."""
    x, weight = np.asarray(x, dtype=np.float64), np.asarray(weight, dtype=np.float64)
    x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    kernel = weight.shape[2]
    height = (x.shape[0] - kernel) // stride + 1
    width = (x.shape[1] - kernel) // stride + 1
    y = np.zeros((height, width, weight.shape[0]))
    for row in range(height):
        for column in range(width):
            top, left = row * stride, column * stride
            patch = x[top : top + kernel, left : left + kernel]
            y[row, column] = np.einsum("ijc,ocij->o", patch, weight)
    if bias is not None:
        y = y + np.asarray(bias, dtype=np.float64)
    return activate(y, activation)
