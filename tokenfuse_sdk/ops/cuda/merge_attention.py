"""merge_attention on a GPU: learned latents merge tokens in one pass."""

from __future__ import annotations

from tokenfuse_sdk.ops.cuda.call import Array, call

__all__ = ["merge_attention"]


def merge_attention(
    queries: Array,
    tokens: Array,
    *,
    return_weights: bool = False,
    out: Array | None = None,
    precision: str | None = None,
    stream: int = 0,
) -> tuple[Array, Array, Array | None]:
    """Merge S tokens to G rows: `s = q_GD x_BSD^T; o_BGD = softmax_S(s) x_BSD`, sums in float32.

    Args:
        queries: (G, D), 16 bits, contiguous, D at most 1,024; scale included; the same for all
            batches.
        tokens: (B, S, D) or (S, D), 16 bits, contiguous.
        return_weights: also return which token fed which row, for a second pass.
        out, precision, stream: see `tokenfuse_sdk.ops.cuda`.

    Returns:
        The merged tokens (B, G, D), 16 bits; log of the sum of exp(s), (B, G) float32; and the
        weights (B, G, S) float32, or None. Without B where `tokens` has none.

    Raises:
        OpError: an array or an option that does not fit.
        DeviceError: no GPU, or CUDA failed.
    """
    o, lse, weights = call(
        "merge_attention",
        queries,
        tokens,
        return_weights=return_weights,
        out=out,
        precision=precision,
        stream=stream,
    )
    return o, lse, weights
