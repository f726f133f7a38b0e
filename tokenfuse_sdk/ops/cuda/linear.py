"""linear on a GPU: y = l (act(norm(x) W^T + b) + r) + m z."""

from __future__ import annotations

from tokenfuse_sdk.ops.cuda.call import Array, call

__all__ = ["linear"]


def linear(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    residual: Array | None = None,
    activation: str = "none",
    gated: bool = False,
    norm: str = "none",
    norm_weight: Array | None = None,
    norm_bias: Array | None = None,
    eps: float = 1e-6,
    original: Array | None = None,
    scale: float = 1.0,
    original_scale: float = 1.0,
    out: Array | None = None,
    result: str | None = None,
    precision: str | None = None,
    stream: int = 0,
) -> Array:
    """A dense layer, a norm before it and its ending behind it, in one kernel.

    `y_MN = scale (act(norm(x_MK) W_NK^T + b_N) + r_MN) + original_scale z_MN`; sums in float32.
    A row of y depends on its row of x alone, bit by bit.

    Args:
        x: (M, K), 16 bits or float32; with a norm float32. Rows may be strided.
        weight: (N, K), 16 bits.
        bias: (N,) float32.
        residual: r, (M, N) float32; may be `out`.
        activation: "none", "gelu" (erf) or "gelu_tanh".
        gated: rows 2 i and 2 i + 1 of `weight` are gate and up: `act(gate_i) up_i`, so y has N / 2
            columns; no bias.
        norm: "none", "layer" or "rms", of the rows of x, with `norm_weight` and, for "layer",
            `norm_bias`, (K,) float32, and `eps`.
        original: z, (M, N) float32.
        scale, original_scale: as in the formula.
        out, result, precision, stream: see `tokenfuse_sdk.ops.cuda`; `result` is `weight`'s dtype
            where it is not told.

    Returns:
        y.

    Raises:
        OpError: an array or an option that does not fit.
        DeviceError: no GPU, or CUDA failed.
    """
    return call(
        "linear",
        x,
        weight,
        bias,
        residual=residual,
        activation=activation,
        gated=gated,
        norm=norm,
        norm_weight=norm_weight,
        norm_bias=norm_bias,
        eps=eps,
        original=original,
        scale=scale,
        original_scale=original_scale,
        out=out,
        result=result,
        precision=precision,
        stream=stream,
    )
