"""rms_norm on a GPU: y = x / sqrt(mean(x^2) + eps) * w."""

from __future__ import annotations

from tokenfuse_sdk.ops.cuda.call import Array, call

__all__ = ["rms_norm"]


def rms_norm(
    x: Array,
    weight: Array,
    *,
    eps: float = 1e-6,
    out: Array | None = None,
    result: str | None = None,
    stream: int = 0,
) -> Array:
    """Scale each row: `y_MN = x_MN / sqrt(mean(x_M^2) + eps) * w_N`, in float32.

    Args:
        x: (M, N) float32; rows may be strided.
        weight: (N,) float32.
        eps: added to the mean square.
        out, result, stream: see `tokenfuse_sdk.ops.cuda`; "fp32" where `result` is not told.

    Returns:
        y, (M, N).

    Raises:
        OpError: an array or an option that does not fit.
        DeviceError: no GPU, or CUDA failed.
    """
    return call("rms_norm", x, weight, eps=eps, out=out, result=result, stream=stream)
