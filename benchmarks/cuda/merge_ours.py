"""Our two forms of merge_attention, on arrays where they lie: the engine's own steps.

"folded": merge_attention of the tokens, then one linear. "projected": one linear for keys and
values, attention, one linear. Outputs go into arrays that are made once.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from merge_inputs import MergeInputs
from our_module import NotHere

__all__ = ["our_folded", "our_projected"]

Form = Callable[[torch.Tensor], torch.Tensor]


class _Emulated:
    """A tensor of the host's memory, shown as the emulator's device shows its own."""

    def __init__(self, tensor: torch.Tensor) -> None:
        names = {torch.float16: "<f2", torch.float32: "<f4"}
        if tensor.dtype not in names:
            raise NotHere(f"the emulator takes no {tensor.dtype}: its arrays have no such name")
        item = tensor.element_size()
        self._tensor = tensor
        self.__cuda_array_interface__ = {
            "shape": tuple(tensor.shape),
            "typestr": names[tensor.dtype],
            "data": (tensor.data_ptr(), False),
            "strides": tuple(item * stride for stride in tensor.stride()),
            "version": 3,
        }


def _ops(module: ModuleType, *names: str) -> list[Any]:
    lacking = [name for name in names if not hasattr(module, name)]
    if lacking:
        raise NotHere(f"{module.__name__} has no {', '.join(lacking)}")
    return [getattr(module, name) for name in names]


def _shown(inputs: MergeInputs, tensor: torch.Tensor) -> Any:
    return _Emulated(tensor) if inputs.gpu.is_dry else tensor


def our_folded(inputs: MergeInputs, module: ModuleType) -> Form:
    """Raises `NotHere` where the module has no such ops."""
    merge, linear = _ops(module, "merge_attention", "linear")
    shape, gpu, constants = inputs.shape, inputs.gpu, inputs.folded
    rows = shape.num_latents * shape.num_heads
    merged = inputs.new_output(shape.batch, rows, shape.width)
    f_BND = inputs.new_output(shape.batch, shape.num_latents, shape.width)
    queries, weight, bias = (
        _shown(inputs, x) for x in (constants.q_RC, constants.matrix_DX, constants.bias_D)
    )
    out, flat = (
        _shown(inputs, x) for x in (merged, merged.view(shape.batch * shape.num_latents, -1))
    )
    result = _shown(inputs, f_BND.view(-1, shape.width))

    def form(x_BSC: torch.Tensor) -> torch.Tensor:
        merge(queries, _shown(inputs, x_BSC), out=out, stream=gpu.stream)
        linear(flat, weight, bias, out=result, stream=gpu.stream)
        return f_BND

    return form


def our_projected(inputs: MergeInputs, module: ModuleType) -> Form:
    """Raises `NotHere` where the module has no such ops."""
    attention, linear = _ops(module, "attention", "linear")
    shape, gpu, constants = inputs.shape, inputs.gpu, inputs.projected
    b, n, s, d = shape.batch, shape.num_latents, shape.num_tokens, shape.width
    heads = (shape.num_heads, d // shape.num_heads)
    key_value = inputs.new_output(b, s, 2 * d)
    merged, f_BND = inputs.new_output(b, n, d), inputs.new_output(b, n, d)
    # The latents are the same for all of the batch: its stride is 0.
    q_BNHh = constants.q_ND.view(n, *heads).expand(b, -1, -1, -1)
    k_BSHh, v_BSHh = (part.unflatten(-1, heads) for part in key_value.chunk(2, dim=-1))
    q, k, v, o = (_shown(inputs, x) for x in (q_BNHh, k_BSHh, v_BSHh, merged.view(b, n, *heads)))
    both, flat, result = (
        _shown(inputs, x)
        for x in (key_value.view(-1, 2 * d), merged.view(-1, d), f_BND.view(-1, d))
    )
    wide, wide_bias, narrow, narrow_bias = (
        _shown(inputs, x)
        for x in (
            constants.key_value_2DC,
            constants.key_value_bias,
            constants.output_DD,
            constants.output_bias,
        )
    )

    def form(x_BSC: torch.Tensor) -> torch.Tensor:
        tokens = _shown(inputs, x_BSC.view(-1, d))
        linear(tokens, wide, wide_bias, out=both, stream=gpu.stream)
        attention(q, k, v, scale=1.0, out=o, stream=gpu.stream)
        linear(flat, narrow, narrow_bias, out=result, stream=gpu.stream)
        return f_BND

    return form
