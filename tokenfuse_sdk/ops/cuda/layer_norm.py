"""layer_norm on a GPU: y = (x - mean) / sqrt(var + eps) * w + b."""

from __future__ import annotations

from tokenfuse_sdk.ops.cuda.call import Array, call

__all__ = ["layer_norm"]


def layer_norm(
    x: Array,
    weight: Array,
    bias: Array,
    *,
    eps: float = 1e-6,
    out: Array | None = None,
    result: str | None = None,
    stream: int = 0,
) -> Array:
    """Normalise each row: `y_MN = (x_MN - mean_M) / sqrt(var_M + eps) * w_N + b_N`, in float32.

    Args:
        x: (M, N) float32; rows may be strided.
        weight, bias: (N,) float32.
        eps: added to the variance, which is the biased one.
        out, result, stream: see `tokenfuse_sdk.ops.cuda`; "fp32" where `result` is not told.

    Returns:
        y, (M, N).

    Raises:
        OpError: an array or an option that does not fit.
        DeviceError: no GPU, or CUDA failed.
    """
    return call("layer_norm", x, weight, bias, eps=eps, out=out, result=result, stream=stream)
