"""gelu in float64."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["activate", "gelu"]

_erf = np.vectorize(math.erf, otypes=[np.float64])


def gelu(
    x: ArrayLike, gated: ArrayLike | None = None, *, approximate: str = "none"
) -> NDArray[np.float64]:
    """See `tokenfuse_sdk.ops.gelu`."""
    x = np.asarray(x, dtype=np.float64)
    if approximate == "tanh":
        inner = np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3))
    else:
        inner = _erf(x / math.sqrt(2.0))
    # -inf * 0 is nan, but the limit is -0.
    with np.errstate(invalid="ignore"):
        y = np.where(x == -np.inf, -0.0, 0.5 * x * (1.0 + inner))
    return y if gated is None else y * np.asarray(gated, dtype=np.float64)


def activate(x: NDArray[np.float64], activation: str) -> NDArray[np.float64]:
    """The activation of a dense layer by its name."""
    if activation == "none":
        return x
    return gelu(x, approximate="tanh" if activation == "gelu_tanh" else "none")
