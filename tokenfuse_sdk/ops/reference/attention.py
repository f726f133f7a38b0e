"""attention in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokenfuse_sdk.ops.reference.softmax import softmax

__all__ = ["attention"]


def attention(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, *, scale: float, bias: ArrayLike | None = None
) -> NDArray[np.float64]:
    """See `tokenfuse_sdk.ops.attention`."""
    q, k, v = (np.asarray(a, dtype=np.float64) for a in (q, k, v))
    s_HQK = scale * np.einsum("qhd,khd->hqk", q, k)
    if bias is not None:
        s_HQK = s_HQK + np.asarray(bias, dtype=np.float64)
    weights_HQK, _ = softmax(s_HQK)
    o: NDArray[np.float64] = np.einsum("hqk,khd->qhd", weights_HQK, v)
    return o
