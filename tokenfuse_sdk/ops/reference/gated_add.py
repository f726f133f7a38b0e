"""gated_add in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["gated_add"]


def gated_add(a: float, x: ArrayLike, b: float, z: ArrayLike) -> NDArray[np.float64]:
    """See `tokenfuse_sdk.ops.gated_add`."""
    y: NDArray[np.float64] = a * np.asarray(x, np.float64) + b * np.asarray(z, np.float64)
    return y
