"""linear in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokenfuse_sdk.ops.reference.gelu import activate

__all__ = ["linear"]


def linear(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    residual: ArrayLike | None = None,
    activation: str = "none",
) -> NDArray[np.float64]:
    """See `tokenfuse_sdk.ops.linear`."""
    y = np.asarray(x, dtype=np.float64) @ np.asarray(weight, dtype=np.float64).T
    if bias is not None:
        y = y + np.asarray(bias, dtype=np.float64)
    y = activate(y, activation)
    return y if residual is None else y + np.asarray(residual, dtype=np.float64)
