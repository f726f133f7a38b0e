"""attention: O = softmax(c Q K^T + B) V, per head."""

from __future__ import annotations

from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.ops.checks import FloatArray, call, check_threads, checked, same

__all__ = ["attention", "checked_heads"]


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
    q, k, v, bias = checked_heads(q, k, v, bias)
    o: FloatArray = call("attention", q, k, v, scale, bias, isa, check_threads(num_threads))
    return o


def checked_heads(
    q: FloatArray, k: FloatArray, v: FloatArray, bias: FloatArray | None
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray | None]:
    """The arrays of an attention, or the error that says what does not fit."""
    q = checked("q", q, "QHh")
    k, v = checked("k", k, "KHh"), checked("v", v, "KHh")
    same("H", q=q.shape[1], k=k.shape[1], v=v.shape[1])
    same("h", q=q.shape[2], k=k.shape[2], v=v.shape[2])
    same("K", k=k.shape[0], v=v.shape[0])
    if bias is not None:
        bias = checked("bias", bias, "HQK")
        if bias.shape != (q.shape[1], q.shape[0], k.shape[0]):
            need = [q.shape[1], q.shape[0], k.shape[0]]
            raise OpError(f"bias has shape {list(bias.shape)}; need {need}")
    return q, k, v, bias
