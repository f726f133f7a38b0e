"""The patches of a convolution on a GPU, which make it a linear."""

from __future__ import annotations

from tokenfuse_sdk.ops.cuda.call import Array, call

__all__ = ["patches"]


def patches(
    x: Array,
    *,
    kernel: int,
    conv_stride: int = 1,
    padding: int = 0,
    out: Array | None = None,
    result: str | None = None,
    precision: str | None = None,
    stream: int = 0,
) -> Array:
    """Row (b, i, j) is `x[b, i s + u - p, j s + v - p, c]` for all u, v < k and c, in that order.

    `linear(patches(x), matrix)` is `conv2d`: the matrix of its weight (O, C, k, k) is
    `weight.transpose(0, 2, 3, 1).reshape(O, -1)`.

    Args:
        x: (B, H, W, C) or (H, W, C), 16 bits or float32, contiguous; zeros lie outside of it.
        kernel: k, rows and columns of a patch.
        conv_stride: s, pixels from one patch to the next.
        padding: p, pixels.
        out, result, precision, stream: see `tokenfuse_sdk.ops.cuda`; `result` is x's dtype, or
            "fp16" for float32, where it is not told.

    Returns:
        (B i j, k k C), 16 bits; on the GPU with zeros behind, up to a multiple of 8 columns.

    Raises:
        OpError: an array or an option that does not fit.
        DeviceError: no GPU, or CUDA failed.
    """
    return call(
        "patches",
        x,
        kernel=kernel,
        conv_stride=conv_stride,
        padding=padding,
        out=out,
        result=result,
        precision=precision,
        stream=stream,
    )
