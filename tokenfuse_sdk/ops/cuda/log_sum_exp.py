"""log_sum_exp on a GPU: log-probabilities x - log(sum exp(x)), and where the largest is."""

from __future__ import annotations

from tokenfuse_sdk.ops.cuda.call import Array, call

__all__ = ["log_sum_exp"]


def log_sum_exp(x: Array, *, given: Array | None = None, stream: int = 0) -> tuple[Array, Array]:
    """`x_Mn - log(sum_N exp(x_MN))` of one n in each row: `given_M`, or else the largest.

    Unlike `tokenfuse_sdk.ops.log_sum_exp`, which gives the sum's logarithm itself: the difference
    is what a decoder asks for, and its digits are lost once it is apart.

    Args:
        x: (M, N) float32, N at least 1; rows may be strided.
        given: (M,) int32 below N. On the GPU it is trusted.
        stream: see `tokenfuse_sdk.ops.cuda`.

    Returns:
        Log-probabilities (M,) float32, and the first n with the largest `x_Mn`, (M,) int32.

    Raises:
        OpError: an array that does not fit.
        DeviceError: no GPU, or CUDA failed.
    """
    log_prob, top = call("log_sum_exp", x, given=given, stream=stream)
    return log_prob, top
