"""attention: O = softmax(c Q K^T + B) V, per head."""

from __future__ import annotations

from tokenfuse_sdk.ops.checks import FloatArray, attend

__all__ = ["attention"]


def attention(
    q: FloatArray,
    k: FloatArray,
    v: FloatArray,
    *,
    scale: float,
    bias: FloatArray | None = None,
    isa: str = "",
    num_threads: int = 1,
) -> FloatArray:
    """Multi-head attention: `O_QHh = softmax_K(scale q_QHh k_KHh^T + bias_HQK) v_KHh`.

    A query whose keys are all masked, or that has no keys, gives zeros.

    Args:
        q: (Q, H, h) float32.
        k, v: (K, H, h) float32.
        scale: factor on the products, commonly 1 / sqrt(h).
        bias: (H, Q, K) float32, added to the scores: positions, masks (-inf).
        isa: instruction set, "" for the best.
        num_threads: 1 or more; heads are shared out.

    Returns:
        (Q, H, h) float32.

    Raises:
        OpError: a shape or dtype that does not fit.
    """
    return attend("attention", q, k, v, scale, bias, isa, num_threads)
