"""Joint adaptive fusion: gated fusion and iterative refinement [P eq. 3, 4].

Shapes: B batch, S image tokens, L text tokens, N latents, D width.

Every fusion has the same two steps, so that the baselines fit the same model:
`encode_image` is what depends on the picture alone (once per picture), and
`forward` joins it with the text and returns the tokens that the decoder reads,
with a key mask or None.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tokenfuse_sdk.config import FusionConfig
from tokenfuse_training.model.layers import MLP, CrossAttention, SelfLayer
from tokenfuse_training.model.resample import make_resampler

__all__ = ["FusionIteration", "JointAdaptiveFusion", "self_layers"]


def self_layers(config: FusionConfig, num_layers: int) -> nn.ModuleList:
    """`num_layers` transformer layers of the fusion's shape."""
    return nn.ModuleList(
        SelfLayer(
            config.width,
            config.num_heads,
            config.mlp_dim,
            activation=config.activation,
            eps=config.eps,
        )
        for _ in range(num_layers)
    )


class FusionIteration(nn.Module):
    """One iteration: gated fusion, combination, R/M transformer layers.

    [P eq. 3] `P = LN(t) + tanh(alpha) Phi(LN t, LN f)`, `F = P + tanh(beta) MLP(P)`.
    [P eq. 4] `t <- lambda F + mu t_N`; "residual" fixes both at 1, "none" drops t_N.
    [D] alpha = beta = lambda = mu = 1 at the start: a zero gate is dead from scratch.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.combination = config.combination
        self.norm_text = nn.LayerNorm(config.width, eps=config.eps)
        self.norm_image = nn.LayerNorm(config.width, eps=config.eps)
        self.attention = CrossAttention(config.width, config.num_heads)
        self.mlp = MLP(config.width, config.mlp_dim, config.activation)
        self.alpha = nn.Parameter(torch.ones(()))
        self.beta = nn.Parameter(torch.ones(()))
        if config.combination == "weighted":
            self.lambda_ = nn.Parameter(torch.ones(()))
            self.mu = nn.Parameter(torch.ones(()))
        self.layers = self_layers(config, config.num_layers // config.num_iterations)

    def forward(self, t_BND: Tensor, f_BND: Tensor, original_BND: Tensor) -> Tensor:
        t_norm_BND = self.norm_text(t_BND)
        merged_BND = self.attention(t_norm_BND, self.norm_image(f_BND))
        p_BND = t_norm_BND + torch.tanh(self.alpha) * merged_BND
        fused_BND = p_BND + torch.tanh(self.beta) * self.mlp(p_BND)
        if self.combination == "weighted":
            t_BND = self.lambda_ * fused_BND + self.mu * original_BND
        elif self.combination == "residual":
            t_BND = fused_BND + original_BND
        else:
            t_BND = fused_BND
        for layer in self.layers:
            t_BND = layer(t_BND)
        return t_BND


class JointAdaptiveFusion(nn.Module):
    """The method: resample both modalities, then M gated iterations, then a layer norm."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.image_resampler = make_resampler(config)
        self.text_resampler = make_resampler(config)
        self.iterations = nn.ModuleList(
            FusionIteration(config) for _ in range(config.num_iterations)
        )
        self.norm = nn.LayerNorm(config.width, eps=config.eps)

    def encode_image(self, v_BSD: Tensor, num_latents: int) -> Tensor:
        """`f_BND`: does not depend on the question."""
        return self.image_resampler(v_BSD, None, num_latents)

    def forward(
        self, f_BND: Tensor, text_BLD: Tensor, mask_BL: Tensor, num_latents: int
    ) -> tuple[Tensor, Tensor | None]:
        original_BND = self.text_resampler(text_BLD, mask_BL, num_latents)
        t_BND = original_BND
        for iteration in self.iterations:
            t_BND = iteration(t_BND, f_BND, original_BND)
        return self.norm(t_BND), None
