"""attention_int16: inputs rounded in the float32 steps that the contract names, then float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokenfuse_sdk.ops.reference.attention import attention

__all__ = ["attention_int16"]


def attention_int16(
    q: NDArray[np.float32],
    k: NDArray[np.float32],
    v: NDArray[np.float32],
    *,
    scale: float,
    bias: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """See `tokenfuse_sdk.ops.attention_int16`; the weights are not rounded here."""
    largest = min(32767.0, np.floor(np.sqrt((2.0**31 - 1) / max(q.shape[2], 1))))
    return attention(
        _rounded(q, 2, largest),
        _rounded(k, (0, 2), largest),
        _rounded(v, 0, 32767.0),
        scale=scale,
        bias=bias,
    )


def _rounded(
    x: NDArray[np.float32], axes: int | tuple[int, ...], largest: float
) -> NDArray[np.float64]:
    top = np.abs(x).max(axis=axes, initial=0.0, keepdims=True)
    inverse = np.float32(largest) / np.maximum(top, np.float32(1e-30))
    rounded: NDArray[np.float64] = np.rint(x * inverse) * (top.astype(np.float64) / largest)
    return rounded
