"""conv2d: channels-last convolution of one picture."""

from __future__ import annotations

from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.integers import as_integer
from tokenfuse_sdk.ops.checks import (
    FloatArray,
    call,
    check_activation,
    check_threads,
    checked,
    same,
)

__all__ = ["conv2d"]


def conv2d(
    x: FloatArray,
    weight: FloatArray,
    bias: FloatArray | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    activation: str = "none",
    isa: str = "",
    num_threads: int = 1,
) -> FloatArray:
    """`y[h, w, o] = act(sum_{i, j, c} x[h s + i - p, w s + j - p, c] W[o, c, i, j] + b[o])`.

    Args:
        x: (H, W, C) float32; zeros lie outside of it.
        weight: (O, C, k, k) float32, as PyTorch has it.
        bias: (O,) float32.
        stride: s, 1 or more pixels.
        padding: p, 0 or more pixels.
        activation: "none", "gelu" (erf) or "gelu_tanh".
        isa: instruction set, "" for the best.
        num_threads: 1 or more.

    Returns:
        ((H + 2p - k) / s + 1, (W + 2p - k) / s + 1, O) float32, rounded down.

    Raises:
        OpError: a shape, dtype or option that does not fit.
    """
    x, weight = checked("x", x, "HWC"), checked("weight", weight, "OCkk")
    same("C", x=x.shape[2], weight=weight.shape[1])
    kernel = weight.shape[2]
    same("k", rows=kernel, columns=weight.shape[3])
    if bias is not None:
        bias = checked("bias", bias, "O")
        same("O", bias=bias.shape[0], weight=weight.shape[0])
    s, p = as_integer(stride), as_integer(padding)
    if s is None or p is None or s < 1 or p < 0 or kernel < 1:
        raise OpError(
            f"stride={stride!r}, padding={padding!r}, k={kernel}: need integers, s, k >= 1 and "
            "p >= 0"
        )
    if min(x.shape[:2]) + 2 * p < kernel:
        raise OpError(f"x has shape {list(x.shape)}; with padding {p} need {kernel} pixels")
    check_activation(activation)
    threads = check_threads(num_threads)
    y: FloatArray = call("conv2d", x, weight, bias, s, p, activation, isa, threads)
    return y
