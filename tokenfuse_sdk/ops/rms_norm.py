"""rms_norm: y = x / sqrt(mean(x^2) + eps) * w."""

from __future__ import annotations

from tokenfuse_sdk.ops.checks import FloatArray, call, checked, same

__all__ = ["rms_norm"]


def rms_norm(x: FloatArray, weight: FloatArray, *, eps: float = 1e-6, isa: str = "") -> FloatArray:
    """Scale each row, as T5 does: `y_MN = x_MN / sqrt(mean(x_M^2) + eps) * w_N`.

    Args:
        x: (M, N) float32; rows may be strided.
        weight: (N,) float32.
        eps: added to the mean square.
        isa: instruction set, "" for the best.

    Returns:
        (M, N) float32.

    Raises:
        OpError: a shape or dtype that does not fit.
    """
    x, weight = checked("x", x, "MN"), checked("weight", weight, "N")
    same("N", x=x.shape[1], weight=weight.shape[0])
    y: FloatArray = call("rms_norm", x, weight, eps, isa)
    return y
