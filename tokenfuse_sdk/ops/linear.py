"""linear: y = act(x W^T + b) + r."""

from __future__ import annotations

from tokenfuse_sdk.ops.checks import FloatArray, dense

__all__ = ["linear"]


def linear(
    x: FloatArray,
    weight: FloatArray,
    bias: FloatArray | None = None,
    *,
    residual: FloatArray | None = None,
    activation: str = "none",
    isa: str = "",
    num_threads: int = 1,
) -> FloatArray:
    """A dense layer with its activation and residual: `y_MN = act(x_MK W_NK^T + b_N) + r_MN`.

    Args:
        x: (M, K) float32; rows may be strided.
        weight: (N, K) float32.
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
    return dense("linear", x, weight, bias, residual, activation, isa, num_threads)
