"""merge_attention: learned latents merge tokens in one pass."""

from __future__ import annotations

from tokenfuse_sdk.ops.checks import FloatArray, call, checked, same

__all__ = ["merge_attention"]


def merge_attention(
    queries: FloatArray,
    tokens: FloatArray,
    *,
    mask: FloatArray | None = None,
    return_weights: bool = False,
    isa: str = "",
) -> tuple[FloatArray, FloatArray, FloatArray | None]:
    """Merge S tokens to G rows: `s_GS = q_GD x_SD^T + mask_S; o_GD = softmax_S(s_GS) x_SD`.

    The heart of the method [paper eq. 2]: with constant queries the projections fold into
    `queries` and into what is applied to the result, so the tokens are read once and never
    projected. The softmax is streamed over blocks of tokens.

    Args:
        queries: (G, D) float32, one row per latent and head, scale included.
        tokens: (S, D) float32; rows may be strided.
        mask: (S,) float32, added to the scores: 0 or -inf.
        return_weights: also return which token fed which row.
        isa: instruction set, "" for the best.

    Returns:
        The merged tokens (G, D); log of the sum of exp(s), (G,); and the weights (G, S), or
        None. Without an unmasked token: zeros and -inf.

    Raises:
        OpError: a shape or dtype that does not fit.
    """
    queries, tokens = checked("queries", queries, "GD"), checked("tokens", tokens, "SD")
    same("D", queries=queries.shape[1], tokens=tokens.shape[1])
    if mask is not None:
        mask = checked("mask", mask, "S")
        same("S", mask=mask.shape[0], tokens=tokens.shape[0])
    o, lse, weights = call("merge_attention", queries, tokens, mask, return_weights, isa)
    return o, lse, weights
