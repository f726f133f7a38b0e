"""log_sum_exp: y = log(sum exp(x)), and where the largest is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.ops.checks import FloatArray, call, checked

__all__ = ["log_sum_exp"]


def log_sum_exp(x: FloatArray, *, isa: str = "") -> tuple[FloatArray, NDArray[np.int32]]:
    """`y_M = log(sum_N exp(x_MN))`, and the first n with the largest `x_Mn`.

    What a greedy decoder asks of its logits: the next id, and `x - y`, log-probabilities.

    Args:
        x: (M, N) float32, N at least 1; rows may be strided.
        isa: instruction set, "" for the best.

    Returns:
        y (M,) float32, NaN where a row has a NaN or its largest is not finite; and top (M,) int32.

    Raises:
        OpError: a shape or dtype that does not fit.
    """
    x = checked("x", x, "MN")
    if not x.shape[1]:
        raise OpError(f"x has shape {list(x.shape)}; need one column or more, to have a largest")
    y, top = call("log_sum_exp", x, isa)
    return y, top
