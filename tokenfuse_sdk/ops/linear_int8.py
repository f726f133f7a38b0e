"""linear_int8: y = act(s t (q(x) W^T) + b) + r, the product in 8-bit integers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.ops.checks import (
    FloatArray,
    call,
    check_activation,
    check_threads,
    checked,
    checked_ending,
    same,
)

__all__ = ["linear_int8"]


def linear_int8(
    x: FloatArray,
    weight: NDArray[np.int8],
    weight_scale: FloatArray,
    bias: FloatArray | None = None,
    *,
    residual: FloatArray | None = None,
    activation: str = "none",
    isa: str = "",
    num_threads: int = 1,
) -> FloatArray:
    """A dense layer with 8-bit weights: `y_MN = act(s_M t_N (q_MK W_NK^T) + b_N) + r_MN`.

    `q, s = quantize(x)`; the product is exact in int32. `quantize(w)` gives `W` and `t`.

    Args:
        x: (M, K) float32, K up to 66,311; rows may be strided.
        weight: (N, K) int8 in -127..127.
        weight_scale: (N,) float32, t.
        bias: (N,) float32.
        residual: (M, N) float32, added last.
        activation: "none", "gelu" (erf) or "gelu_tanh", within 2e-4 max(1, |x|).
        isa: instruction set, "" for the best.
        num_threads: 1 or more.

    Returns:
        (M, N) float32.

    Raises:
        OpError: a shape, dtype or option that does not fit.
    """
    x, weight_scale = checked("x", x, "MK"), checked("weight_scale", weight_scale, "N")
    if not isinstance(weight, np.ndarray) or weight.dtype != np.int8 or weight.ndim != 2:
        given = getattr(weight, "dtype", type(weight).__name__)
        raise OpError(f"weight is {given}; need an int8 array (N, K)")
    if weight.size and int(weight.min()) < -127:
        raise OpError("weight holds -128; need -127..127, as quantize() gives")
    same("K", x=x.shape[1], weight=weight.shape[1])
    same("N", weight_scale=weight_scale.shape[0], weight=weight.shape[0])
    bias, residual = checked_ending(bias, residual, (x.shape[0], weight.shape[0]))
    check_activation(activation)
    y: FloatArray = call(
        "linear_int8",
        x,
        np.ascontiguousarray(weight),
        weight_scale,
        bias,
        residual,
        activation,
        isa,
        check_threads(num_threads),
    )
    return y
