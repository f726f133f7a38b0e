"""merge_attention in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokenfuse_sdk.ops.reference.softmax import softmax

__all__ = ["merge_attention"]

Array = NDArray[np.float64]


def merge_attention(
    queries: ArrayLike, tokens: ArrayLike, *, mask: ArrayLike | None = None
) -> tuple[Array, Array, Array]:
    """See `tokenfuse_sdk.ops.merge_attention`; the weights always come along."""
    q_GD, x_SD = (np.asarray(a, dtype=np.float64) for a in (queries, tokens))
    s_GS = q_GD @ x_SD.T
    if mask is not None:
        s_GS = s_GS + np.asarray(mask, dtype=np.float64)
    weights_GS, lse_G = softmax(s_GS)
    return weights_GS @ x_SD, lse_G, weights_GS
