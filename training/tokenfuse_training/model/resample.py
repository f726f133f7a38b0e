"""Token resampling [P eq. 2]: S tokens to the first n of N learned ones.

Shapes: B batch, S tokens, N latents, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tokenfuse_sdk.config import FusionConfig
from tokenfuse_training.model.attend import widen
from tokenfuse_training.model.layers import CrossAttention, activate

__all__ = ["LatentResampler", "SpatialResampler", "make_resampler"]


class LatentResampler(nn.Module):
    """[P eq. 2] `f_N = W2 Phi(X_N, v)`; W2 is the output projection of Phi."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        # Unit latents: their queries differ from the first step on.
        self.latents = nn.Parameter(torch.randn(config.num_latents, config.width))
        self.attention = CrossAttention(config.width, config.num_heads)

    def forward(self, v_BSD: Tensor, mask_BS: Tensor | None, num_latents: int) -> Tensor:
        x_BND = self.latents[:num_latents].expand(v_BSD.shape[0], -1, -1)
        return self.attention(x_BND, v_BSD, mask_BS)


class SpatialResampler(nn.Module):
    """[D] TokenLearner v1.1: `S = softmax_S(MLP(LN v)); f = S^T v`."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.activation = config.activation
        self.norm = nn.LayerNorm(config.width, eps=config.eps)
        self.up = nn.Linear(config.width, config.resampler_hidden)
        self.down = nn.Linear(config.resampler_hidden, config.num_latents)

    def forward(self, v_BSD: Tensor, mask_BS: Tensor | None, num_latents: int) -> Tensor:
        s_BSN = self.down(activate(self.up(self.norm(v_BSD)), self.activation))
        s_BSN = widen(s_BSN[..., :num_latents])
        if mask_BS is not None:
            s_BSN = s_BSN.masked_fill(~mask_BS[..., None], float("-inf"))
        return s_BSN.softmax(dim=1).to(v_BSD.dtype).transpose(1, 2) @ v_BSD


def make_resampler(config: FusionConfig) -> nn.Module:
    """The resampler that the config names."""
    return LatentResampler(config) if config.resampler == "latent" else SpatialResampler(config)
