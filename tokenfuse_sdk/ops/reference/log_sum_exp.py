"""log_sum_exp in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["log_sum_exp"]


def log_sum_exp(x: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """See `tokenfuse_sdk.ops.log_sum_exp`."""
    x = np.asarray(x, dtype=np.float64)
    largest = x.max(axis=-1, keepdims=True)
    y = largest[..., 0] + np.log(np.exp(x - largest).sum(axis=-1))
    return y, x.argmax(axis=-1).astype(np.int32)
