"""layer_norm: y = (x - mean) / sqrt(var + eps) * w + b."""

from __future__ import annotations

from tokenfuse_sdk.ops.checks import FloatArray, call, checked, same

__all__ = ["layer_norm"]


def layer_norm(
    x: FloatArray, weight: FloatArray, bias: FloatArray, *, eps: float = 1e-6, isa: str = ""
) -> FloatArray:
    """Normalise each row: `y_MN = (x_MN - mean_M) / sqrt(var_M + eps) * w_N + b_N`.

    Args:
        x: (M, N) float32; rows may be strided.
        weight, bias: (N,) float32.
        eps: added to the variance, which is the biased one.
        isa: instruction set, "" for the best.

    Returns:
        (M, N) float32.

    Raises:
        OpError: a shape or dtype that does not fit.
    """
    x = checked("x", x, "MN")
    weight, bias = checked("weight", weight, "N"), checked("bias", bias, "N")
    same("N", x=x.shape[1], weight=weight.shape[0], bias=bias.shape[0])
    y: FloatArray = call("layer_norm", x, weight, bias, eps, isa)
    return y
