"""gelu: exact, tanh form, or gated."""

from __future__ import annotations

from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.ops.checks import FloatArray, call, checked

__all__ = ["gelu"]


def gelu(
    x: FloatArray,
    gated: FloatArray | None = None,
    *,
    approximate: str = "none",
    isa: str = "",
) -> FloatArray:
    """GELU, times `gated` where that is given.

    `y = 0.5 x (1 + erf(x / sqrt 2))`, or with `approximate="tanh"`
    `y = 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.

    Args:
        x: (M, N) float32; rows may be strided.
        gated: (M, N) float32: a factor, as in T5 v1.1.
        approximate: "none" or "tanh".
        isa: instruction set, "" for the best.

    Returns:
        (M, N) float32; absolute error below 4e-7 max(1, |x|), before the factor.

    Raises:
        OpError: a shape, dtype or option that does not fit.
    """
    x = checked("x", x, "MN")
    if gated is not None:
        gated = checked("gated", gated, "MN")
        if gated.shape != x.shape:
            raise OpError(f"gated has shape {list(gated.shape)}; need that of x, {list(x.shape)}")
    if approximate not in ("none", "tanh"):
        raise OpError(f"approximate={approximate!r}: choose none or tanh")
    y: FloatArray = call("gelu", x, gated, approximate == "tanh", isa)
    return y
