"""PyTorch's ways to do merge_attention, each as a function from tokens to latents.

Keys and values are one linear, queries a constant; `scaled_dot_product_attention` chooses its
backend, or is told. "folded" is our own form of the maths in PyTorch's kernels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from merge_inputs import MergeInputs
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import linear, scaled_dot_product_attention

__all__ = ["BACKENDS", "compiled", "folded_form", "on_backend", "projected_form"]

Form = Callable[[torch.Tensor], torch.Tensor]
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}


def projected_form(inputs: MergeInputs) -> Form:
    """`linear(sdpa(q, linear(x)))`."""
    constants, shape, dtype = inputs.projected, inputs.shape, inputs.dtype
    heads = shape.num_heads
    # Tensors of their own in what is compiled.
    key_value_2DC, output_DD = constants.key_value_2DC, constants.output_DD
    key_value_bias, output_bias = (
        constants.key_value_bias.to(dtype),
        constants.output_bias.to(dtype),
    )
    q_HNh = constants.q_ND.unflatten(-1, (heads, -1)).transpose(0, 1)
    q_BHNh = q_HNh.expand(shape.batch, -1, -1, -1).contiguous()

    def form(x_BSC: torch.Tensor) -> torch.Tensor:
        key_value = linear(x_BSC, key_value_2DC, key_value_bias)
        k, v = (
            part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in key_value.chunk(2, dim=-1)
        )
        y = scaled_dot_product_attention(q_BHNh, k, v, scale=1.0)
        return linear(y.transpose(1, 2).flatten(2), output_DD, output_bias)

    return form


def folded_form(inputs: MergeInputs) -> Form:
    """`linear(sdpa(q, x, x))`, one head as wide as a token."""
    constants, shape = inputs.folded, inputs.shape
    matrix_DX, bias = constants.matrix_DX, constants.bias_D.to(inputs.dtype)
    batch, num_latents = shape.batch, shape.num_latents
    q_B1RC = constants.q_RC.expand(shape.batch, 1, -1, -1).contiguous()

    def form(x_BSC: torch.Tensor) -> torch.Tensor:
        x_B1SC = x_BSC[:, None]
        merged = scaled_dot_product_attention(q_B1RC, x_B1SC, x_B1SC, scale=1.0)
        merged = merged.reshape(batch, num_latents, -1)
        return linear(merged, matrix_DX, bias)

    return form


def on_backend(form: Form, backend: str) -> Form:
    """With one of `BACKENDS` and no other; where it cannot, PyTorch raises."""

    def forced(x_BSC: torch.Tensor) -> torch.Tensor:
        with sdpa_kernel([BACKENDS[backend]]):
            return form(x_BSC)

    return forced


def compiled(form: Form) -> Form:
    """`max-autotune`; the graph around it is ours, the same for all.

    What was compiled before is forgotten: PyTorch compiles one function for a few shapes only, and
    a graph that is recorded needs its Python no more.
    """
    torch._dynamo.reset()
    ready: Form = torch.compile(
        form, mode="max-autotune-no-cudagraphs", dynamic=False, fullgraph=True
    )
    return ready
