"""linear_bf16: the weights rounded, the rest in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokenfuse_sdk.ops.reference.linear import linear

__all__ = ["linear_bf16", "round_bf16"]


def round_bf16(values: ArrayLike) -> NDArray[np.float64]:
    """Float32 to the nearest bfloat16, ties to even: 8 significant bits, exponents of float32."""
    # A signalling NaN is told of when it is widened.
    with np.errstate(invalid="ignore"):
        exact = np.asarray(values, dtype=np.float32).astype(np.float64)
    # exact = m 2^e with 1/2 <= |m| < 1; what is subnormal has the step of 2^-126.
    exponent = np.maximum(np.frexp(exact)[1], -125)
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = np.rint(np.ldexp(exact, 8 - exponent))
        near = np.ldexp(rounded, exponent - 8)
    # Half a step beyond the largest lies infinity.
    beyond = np.abs(near) >= 2.0**128
    result: NDArray[np.float64] = np.where(beyond, np.copysign(np.inf, near), near)
    return result


def linear_bf16(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    residual: ArrayLike | None = None,
    activation: str = "none",
    round_x: bool = False,
) -> NDArray[np.float64]:
    """See `tokenfuse_sdk.ops.linear_bf16`; `round_x` is what `isa="avx512_bf16"` does."""
    values = round_bf16(x) if round_x else x
    return linear(values, round_bf16(weight), bias, residual=residual, activation=activation)
