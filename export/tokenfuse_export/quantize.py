"""A graph with its linears in 8 bits: pairs of QuantizeLinear and DequantizeLinear around them.

    y = DQ(Q(x)) DQ(W_q),   DQ(Q(x)) = s clip(round(x / s), -128, 127),   s = max|x| / 127

One scale for an input, from calibration; one for each column of the weights, from the weights.
All are symmetric. Runtimes turn the pairs into integer products; what has no pairs stays in the
graph's precision: products of attention, convolutions, the embedding, norms.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tokenfuse_export.errors import ExportError
from tokenfuse_training.model import JointModel

__all__ = ["quantize_linears", "weight_keys"]

_LARGEST = 127
# Of inputs. TensorRT takes signed integers around 0. ONNX Runtime on x86 makes integer products
# of unsigned ones; it would turn signed ones into them, but not where several linears read one
# value: it left 19 of the 33 of an image encoder in float32. The numbers that they mean are the
# same.
_ZEROS = {np.float32: np.uint8(128), np.float16: np.int8(0)}


def weight_keys(model: JointModel, dtype: torch.dtype) -> dict[str, tuple[str, ...]]:
    """What the weights of each linear look like in a graph, to the linear's name.

    An exporter names folded constants as it likes; their bytes are what can be relied on.
    Linears of equal weights have one key, and their names are all there.
    """
    keys: dict[str, tuple[str, ...]] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            key = _key(module.weight.detach().T.to(dtype).numpy())
            keys[key] = (*keys.get(key, ()), name)
    return keys


def _key(data: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(data)).hexdigest()


def quantize_linears(model: Any, keys: dict[str, tuple[str, ...]], ranges: dict[str, float]) -> int:
    """Put pairs around every linear of an ONNX model, in place.

    Args:
        model: `onnx_ir.Model` in float32 or float16.
        keys: `weight_keys` in the model's dtype.
        ranges: largest input by the linear's name; of linears with equal weights, which a graph
            does not tell apart, the largest of all: none clips.

    Returns:
        The number of linears.

    Raises:
        ExportError: a product with constant weights is no linear of the model.
    """
    editor = _Editor(model.graph)
    num_linears = 0
    for node in list(model.graph):
        if node.op_type not in ("MatMul", "Gemm") or node.inputs[1].const_value is None:
            continue
        weights = node.inputs[1].const_value.numpy()
        names = keys.get(_key(weights), ())
        if not names or node.op_type == "Gemm":
            raise ExportError(
                f"{node.op_type} {node.name} of the graph is no linear of the model, so its "
                "inputs have no known range; try another version of torch, and report it"
            )
        editor.quantize_input(node, max(ranges[name] for name in names))
        editor.quantize_weights(node, weights, names[-1])
        num_linears += 1
    for value in dict.fromkeys(editor.replaced):
        if not value.uses():
            del model.graph.initializers[value.name]
    return num_linears


class _Editor:
    """Adds nodes and constants to one graph."""

    def __init__(self, graph: Any) -> None:
        import onnx_ir

        self._ir, self._graph = onnx_ir, graph
        self._inputs: dict[Any, Any] = {}
        self._weights: dict[str, Any] = {}
        self.replaced: list[Any] = []

    def _constant(self, name: str, array: NDArray[Any]) -> Any:
        tensor = self._ir.tensor(array, name=name)
        value = self._ir.Value(
            name=name,
            shape=tensor.shape,
            type=self._ir.TensorType(tensor.dtype),
            const_value=tensor,
        )
        self._graph.register_initializer(value)
        return value

    def _node(
        self, before: Any, op_type: str, inputs: Sequence[Any], like: Any, **attributes: int
    ) -> Any:
        node = self._ir.node(op_type, inputs, attributes)
        node.outputs[0].name = node.name = f"{inputs[0].name}_{op_type}"
        node.outputs[0].shape, node.outputs[0].type = like.shape, like.type
        self._graph.insert_before(before, node)
        return node.outputs[0]

    def quantize_input(self, node: Any, largest: float) -> None:
        """Linears that read one value share its pair."""
        x = node.inputs[0]
        if x not in self._inputs:
            dtype = x.dtype.numpy()
            scale = np.asarray(_scales(np.asarray(largest)), dtype=dtype)
            zero = _ZEROS[dtype.type]
            parameters = [
                self._constant(f"{x.name}_scale", scale),
                self._constant(f"{x.name}_zero", np.asarray(zero)),
            ]
            q = self._node(node, "QuantizeLinear", [x, *parameters], x)
            q.type = parameters[1].type
            self._inputs[x] = self._node(node, "DequantizeLinear", [q, *parameters], x)
        node.replace_input_with(0, self._inputs[x])

    def quantize_weights(self, node: Any, weights_IO: NDArray[Any], name: str) -> None:
        """Linears of equal weights share theirs."""
        value = node.inputs[1]
        if name not in self._weights:
            self._weights[name] = self._rounded(node, value, weights_IO, name)
        node.replace_input_with(1, self._weights[name])
        self.replaced.append(value)

    def _rounded(self, node: Any, value: Any, weights_IO: NDArray[Any], name: str) -> Any:
        scales_O = _scales(np.abs(weights_IO).max(0)).astype(weights_IO.dtype)
        scaled_IO = weights_IO.astype(np.float32) / scales_O.astype(np.float32)
        rounded_IO = np.clip(np.rint(scaled_IO), -_LARGEST, _LARGEST).astype(np.int8)
        constants = [
            self._constant(f"{name}.weight_int8", rounded_IO),
            self._constant(f"{name}.weight_scale", scales_O),
            self._constant(f"{name}.weight_zero", np.zeros(scales_O.shape, np.int8)),
        ]
        return self._node(node, "DequantizeLinear", constants, value, axis=1)


def _scales(largest: NDArray[Any]) -> NDArray[np.float32]:
    """max / 127 in float32; 1 where there is nothing but zeros."""
    scales = largest.astype(np.float32) / _LARGEST
    # The smallest that a float16 holds: below it a scale would become 0.
    return np.where(scales > 0, np.maximum(scales, np.float32(2**-24)), np.float32(1))
