"""quantize, in the float32 steps that its contract names: the bytes are defined by them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["quantize"]

_LEAST = np.float32(1e-30)


def quantize(x: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """See `tokenfuse_sdk.ops.quantize`; x must be finite."""
    x = np.asarray(x, dtype=np.float32)
    largest = np.abs(x).max(axis=1, initial=0.0)
    live = largest >= _LEAST
    inverse = np.divide(np.float32(127), largest, out=np.zeros_like(largest), where=live)
    q = np.rint(x * inverse[:, None]).astype(np.int8)
    return q, np.where(live, largest / np.float32(127), np.float32(0))
