"""attention on a GPU: O = softmax(c Q K^T + B) V, per head."""

from __future__ import annotations

from tokenfuse_sdk.ops.cuda.call import Array, call

__all__ = ["attention"]


def attention(
    q: Array,
    k: Array,
    v: Array,
    *,
    scale: float,
    relative_bias: Array | None = None,
    key_counts: Array | None = None,
    out: Array | None = None,
    precision: str | None = None,
    stream: int = 0,
) -> Array:
    """`O_BQHh = softmax_K(scale q_BQHh k_BKHh^T + bias) v_BKHh`, softmax and sums in float32.

    Args:
        q: (B, Q, H, h) or (Q, H, h), 16 bits, h at most 128. Batches and rows may be strided, as
            in a joint projection to q, k and v.
        k, v: (B, K, H, h) or (K, H, h), likewise.
        scale: factor on the products, commonly 1 / sqrt(h).
        relative_bias: (H, Q + K - 1) float32: query i and key j get `[H, Q - 1 + j - i]`. -inf
            hides a key; each query must keep one.
        key_counts: (B,) int32: so many keys of each batch, 1 to K, are there. On the GPU trusted.
        out, precision, stream: see `tokenfuse_sdk.ops.cuda`.

    Returns:
        O, as q.

    Raises:
        OpError: an array or an option that does not fit.
        DeviceError: no GPU, or CUDA failed.
    """
    return call(
        "attention",
        q,
        k,
        v,
        scale=scale,
        relative_bias=relative_bias,
        key_counts=key_counts,
        out=out,
        precision=precision,
        stream=stream,
    )
