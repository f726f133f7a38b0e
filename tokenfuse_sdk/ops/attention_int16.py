"""attention_int16: attention whose two products are in 16-bit integers."""

from __future__ import annotations

from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.ops.checks import FloatArray, attend, checked

__all__ = ["attention_int16"]

_MAX_KEYS = 65_536


def attention_int16(
    q: FloatArray,
    k: FloatArray,
    v: FloatArray,
    *,
    scale: float,
    bias: FloatArray | None = None,
    isa: str = "",
    num_threads: int = 1,
) -> FloatArray:
    """`attention` as it is beside 8-bit linears: `O_QHh = softmax_K(scale q k^T + bias) v`.

    Queries are rounded to steps of their row's largest value over n = min(32767,
    sqrt(2^31 / h)), keys to steps of their head's over n, values to steps of their column's over
    32767, and the softmax to 1 / 32767; the products of these integers are exact.

    Args:
        q: (Q, H, h) float32.
        k, v: (K, H, h) float32, K at most 65,536.
        scale: factor on the products, commonly 1 / sqrt(h).
        bias: (H, Q, K) float32, added to the scores: positions, masks (-inf).
        isa: instruction set, "" for the best.
        num_threads: 1 or more; heads are shared out.

    Returns:
        (Q, H, h) float32.

    Raises:
        OpError: a shape or dtype that does not fit.
    """
    num_keys = checked("k", k, "KHh").shape[0]
    if num_keys > _MAX_KEYS:
        raise OpError(
            f"k has {num_keys} rows; the sums of more than {_MAX_KEYS} do not fit 32 bits: "
            "use attention"
        )
    return attend("attention_int16", q, k, v, scale, bias, isa, num_threads)
