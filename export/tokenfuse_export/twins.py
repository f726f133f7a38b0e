"""Copies of the reference that compute in another precision, or in the nodes that runtimes know.

What is rounded to 16 bits: linears, convolutions, the embedding, and attention's products. What
stays in float32: norms, softmax, the residual sums of a stack of layers, and whatever enters and
leaves a graph.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from tokenfuse_training.model import JointModel
from tokenfuse_training.model.t5 import RMSNorm

__all__ = ["twin_of"]


class _DividedRMSNorm(nn.Module):
    """`x / sqrt(mean(x^2) + eps) * w` as the nodes that runtimes fuse to one.

    ONNX Runtime and OpenVINO look for a power, a square root and a division; the reference's
    product with `rsqrt` leaves five nodes in their graphs.
    """

    def __init__(self, norm: RMSNorm) -> None:
        super().__init__()
        self.weight, self.eps = norm.weight, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        return x / torch.sqrt(x.pow(2.0).mean(-1, keepdim=True) + self.eps) * self.weight


class _Half(nn.Module):
    """A linear, convolution or embedding with its weights, inputs and outputs in 16 bits."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self.dtype = copy.deepcopy(module).to(dtype), dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x.to(self.dtype) if x.is_floating_point() else x)


class _Embedding(_Half):
    """Rows of 16 bits that begin a sum in float32."""

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x).float()


def twin_of(model: JointModel, dtype: torch.dtype = torch.float32) -> JointModel:
    """A copy for export; in float32 it shares every parameter.

    Args:
        model: the float32 reference.
        dtype: float32, float16 or bfloat16.
    """
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, shared)
    for module in list(twin.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, RMSNorm):
                setattr(module, name, _DividedRMSNorm(child))
            elif dtype == torch.float32:
                continue
            elif isinstance(child, nn.Linear) or (
                # Of bfloat16 ONNX has them from opset 22 on: later than TensorRT 10.3 reads.
                isinstance(child, nn.Conv2d) and dtype == torch.float16
            ):
                setattr(module, name, _Half(child, dtype))
            elif isinstance(child, nn.Embedding) and child is twin.embedding:
                setattr(module, name, _Embedding(child, dtype))
    return twin.eval()
