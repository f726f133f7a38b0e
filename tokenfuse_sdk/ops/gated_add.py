"""gated_add: y = a x + b z."""

from __future__ import annotations

from tokenfuse_sdk.ops.checks import FloatArray, call, checked, same

__all__ = ["gated_add"]


def gated_add(a: float, x: FloatArray, b: float, z: FloatArray, *, isa: str = "") -> FloatArray:
    """Combine with scalar gates: `y = a x + b z` [paper eq. 3, 4].

    Args:
        a, b: gates, such as tanh(alpha), lambda, mu.
        x, z: (n,) float32.
        isa: instruction set, "" for the best.

    Returns:
        (n,) float32.

    Raises:
        OpError: a shape or dtype that does not fit.
    """
    x, z = checked("x", x, "n"), checked("z", z, "n")
    same("n", x=x.shape[0], z=z.shape[0])
    y: FloatArray = call("gated_add", a, x, b, z, isa)
    return y
