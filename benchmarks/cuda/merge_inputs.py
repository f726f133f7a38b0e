"""What contestants of merge_attention are given, and the truth in float64.

The projection of the image tokens [paper eq. 1] is folded into the keys' and values' for all of
them, and the latents' queries, which are constants, are made once. Tokens differ from set to set,
so that a large batch is not found in the cache; a small one is, as it is behind an encoder.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from gpu import DryDevice, Gpu
from gpu_peaks import DTYPES
from gpu_work import MergeShape
from merge_folded import folded

from tokenfuse_training.model.layers import CrossAttention

__all__ = ["MergeInputs", "num_sets"]

_MAX_SETS, _MOST_BYTES = 16, 8 << 30


def num_sets(shape: MergeShape, cache_bytes: int) -> int:
    """Enough sets of tokens for twice the cache, within reason."""
    bytes_each = 2 * shape.batch * shape.num_tokens * shape.width
    enough = math.ceil(2 * cache_bytes / bytes_each)
    return max(1, min(enough, _MAX_SETS, _MOST_BYTES // bytes_each))


@dataclasses.dataclass(frozen=True, slots=True)
class _Folded:
    q_RC: torch.Tensor
    matrix_DX: torch.Tensor
    bias_D: torch.Tensor


@dataclasses.dataclass(frozen=True, slots=True)
class _Projected:
    q_ND: torch.Tensor
    key_value_2DC: torch.Tensor
    key_value_bias: torch.Tensor
    output_DD: torch.Tensor
    output_bias: torch.Tensor


class MergeInputs:
    """Constants in both forms, rounded once from float64, and sets of tokens.

    Attributes:
        folded, projected: constants; weights in the dtype, biases in float32.
        tokens: sets of (B, S, C).
    """

    def __init__(self, gpu: Gpu | DryDevice, shape: MergeShape, precision: str) -> None:
        torch.manual_seed(0)
        self.shape, self.precision, self.dtype = shape, precision, DTYPES[precision]
        self.gpu = gpu
        phi = CrossAttention(shape.width, shape.num_heads).double()
        with torch.no_grad():
            for layer in (phi.query, phi.key, phi.value, phi.output):
                layer.weight.normal_(std=shape.width**-0.5)
                layer.bias.normal_(std=0.1)
        latents = torch.randn(shape.num_latents, shape.width, dtype=torch.float64)
        self.folded = _Folded(
            *(self._taken(torch.from_numpy(a), a.ndim == 1) for a in folded(phi, latents))
        )
        with torch.no_grad():
            scale = (shape.width // shape.num_heads) ** -0.5
            # The key bias cancels in the softmax, and is left in: a plain linear has one.
            self.projected = _Projected(
                self._taken(phi.query(latents) * scale),
                self._taken(torch.cat([phi.key.weight, phi.value.weight])),
                self._taken(torch.cat([phi.key.bias, phi.value.bias]), True),
                self._taken(phi.output.weight),
                self._taken(phi.output.bias, True),
            )
        self._phi, self._latents = phi.to(gpu.device), latents.to(gpu.device)
        extents = (shape.batch, shape.num_tokens, shape.width)
        self.tokens = [
            torch.randn(extents, device=gpu.device).to(self.dtype)
            for _ in range(num_sets(shape, gpu.cache_bytes))
        ]
        # The first and the last of a batch: a batch's members do not depend on each other.
        self._members = sorted({0, shape.batch - 1})
        with torch.no_grad():
            x = self.tokens[0][self._members].double()
            self._truth = self._phi(self._latents.expand(len(x), -1, -1), x)

    def _taken(self, x: torch.Tensor, is_bias: bool = False) -> torch.Tensor:
        dtype = torch.float32 if is_bias else self.dtype
        return x.detach().to(device=self.gpu.device, dtype=dtype).contiguous()

    def new_output(self, *extents: int) -> torch.Tensor:
        """Full of NaN, so that what is not written shows."""
        return torch.full(extents, math.nan, device=self.gpu.device, dtype=self.dtype)

    def error_of(self, f_BND: Any) -> tuple[float, float]:
        """Of the result for the first set: the largest, and over the truth's root mean square."""
        got = f_BND[self._members].double()
        if not bool(torch.isfinite(f_BND).all()):
            return math.inf, math.inf
        worst = float((got - self._truth).abs().max())
        return worst, worst / float(self._truth.square().mean().sqrt())
