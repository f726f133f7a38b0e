"""linear_bf16: y = act(x W^T + b) + r, W in bfloat16."""

from __future__ import annotations

from tokenfuse_sdk.ops.checks import FloatArray, dense

__all__ = ["linear_bf16"]


def linear_bf16(
    x: FloatArray,
    weight: FloatArray,
    bias: FloatArray | None = None,
    *,
    residual: FloatArray | None = None,
    activation: str = "none",
    isa: str = "",
    num_threads: int = 1,
) -> FloatArray:
    """A dense layer with weights in bfloat16: `y_MN = act(x_MK W_NK^T + b_N) + r_MN`.

    W is rounded to nearest, ties to even; sums are float32. `isa="avx512_bf16"` rounds x too, for
    the dot instruction; no other one does.

    Args:
        x: (M, K) float32; rows may be strided.
        weight: (N, K) float32, rounded to bfloat16 here.
        bias: (N,) float32.
        residual: (M, N) float32, added last.
        activation: "none", "gelu" (erf) or "gelu_tanh".
        isa: instruction set, "" for the best.
        num_threads: 1 or more.

    Returns:
        (M, N) float32.

    Raises:
        OpError: a shape, dtype or option that does not fit.
    """
    return dense("linear_bf16", x, weight, bias, residual, activation, isa, num_threads)
