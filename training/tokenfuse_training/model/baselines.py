"""The four fusions that the paper compares with, on the same encoders and decoder.

Shapes: B batch, S image tokens, L text tokens, N latents, D width. All keep the
interface of `JointAdaptiveFusion`; their `encode_image` passes the tokens on.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tokenfuse_sdk.config import FusionConfig
from tokenfuse_training.model.fusion import JointAdaptiveFusion, self_layers
from tokenfuse_training.model.layers import MLP, CrossAttention, SelfLayer

__all__ = ["CoTokenization", "Concat", "CrossAttentionFusion", "Perceiver", "make_fusion"]


class _TokenFusion(nn.Module):
    def encode_image(self, v_BSD: Tensor, num_latents: int) -> Tensor:
        return v_BSD


def _joined(v_BSD: Tensor, text_BLD: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
    ones_BS = torch.ones(v_BSD.shape[:2], dtype=torch.bool, device=v_BSD.device)
    return torch.cat([v_BSD, text_BLD], dim=1), torch.cat([ones_BS, mask_BL], dim=1)


class Concat(_TokenFusion):
    """z = [v; t], R layers of self-attention."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.layers = self_layers(config, config.num_layers)
        self.norm = nn.LayerNorm(config.width, eps=config.eps)

    def forward(
        self, v_BSD: Tensor, text_BLD: Tensor, mask_BL: Tensor, num_latents: int
    ) -> tuple[Tensor, Tensor | None]:
        z, mask = _joined(v_BSD, text_BLD, mask_BL)
        for layer in self.layers:
            z = layer(z, mask)
        return self.norm(z), mask


class _CrossLayer(nn.Module):
    """Text cross-attends to the image, then a transformer layer."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width, eps=config.eps)
        self.cross_attention = CrossAttention(config.width, config.num_heads)
        self.layer = SelfLayer(
            config.width,
            config.num_heads,
            config.mlp_dim,
            activation=config.activation,
            eps=config.eps,
        )

    def forward(self, t_BLD: Tensor, v_BSD: Tensor, mask_BL: Tensor) -> Tensor:
        t_BLD = t_BLD + self.cross_attention(self.norm(t_BLD), v_BSD)
        return self.layer(t_BLD, mask_BL)


class CrossAttentionFusion(_TokenFusion):
    """R layers: text cross-attends to v, self-attention, MLP."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.norm_image = nn.LayerNorm(config.width, eps=config.eps)
        self.layers = nn.ModuleList(_CrossLayer(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width, eps=config.eps)

    def forward(
        self, v_BSD: Tensor, text_BLD: Tensor, mask_BL: Tensor, num_latents: int
    ) -> tuple[Tensor, Tensor | None]:
        v_BSD = self.norm_image(v_BSD)
        for layer in self.layers:
            text_BLD = layer(text_BLD, v_BSD, mask_BL)
        return self.norm(text_BLD), mask_BL


class _PerceiverIteration(nn.Module):
    """z += Phi(LN z, LN [v; t]); z += MLP(LN z); one layer."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.norm_latents = nn.LayerNorm(config.width, eps=config.eps)
        self.norm_tokens = nn.LayerNorm(config.width, eps=config.eps)
        self.attention = CrossAttention(config.width, config.num_heads)
        self.norm_mlp = nn.LayerNorm(config.width, eps=config.eps)
        self.mlp = MLP(config.width, config.mlp_dim, config.activation)
        self.layers = self_layers(config, 1)

    def forward(self, z: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        z = z + self.attention(self.norm_latents(z), self.norm_tokens(tokens), mask)
        z = z + self.mlp(self.norm_mlp(z))
        return self.layers[0](z)


class Perceiver(_TokenFusion):
    """Each of M: z += Phi(z, [v; t]), MLP, layer; then the rest of the R layers on z."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(config.num_latents, config.width))
        self.iterations = nn.ModuleList(
            _PerceiverIteration(config) for _ in range(config.num_iterations)
        )
        self.layers = self_layers(config, max(config.num_layers - config.num_iterations, 0))
        self.norm = nn.LayerNorm(config.width, eps=config.eps)

    def forward(
        self, v_BSD: Tensor, text_BLD: Tensor, mask_BL: Tensor, num_latents: int
    ) -> tuple[Tensor, Tensor | None]:
        tokens, mask = _joined(v_BSD, text_BLD, mask_BL)
        z = self.latents[:num_latents].expand(v_BSD.shape[0], -1, -1)
        for iteration in self.iterations:
            z = iteration(z, tokens, mask)
        for layer in self.layers:
            z = layer(z)
        return self.norm(z), None


class _CoTokenIteration(nn.Module):
    """z = layers(Phi(X_N, LN [v; t; z])), with R/M layers."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(config.num_latents, config.width))
        self.norm_tokens = nn.LayerNorm(config.width, eps=config.eps)
        self.attention = CrossAttention(config.width, config.num_heads)
        self.layers = self_layers(config, config.num_layers // config.num_iterations)

    def forward(self, z: Tensor | None, tokens: Tensor, mask: Tensor, num_latents: int) -> Tensor:
        if z is not None:
            ones = torch.ones(z.shape[:2], dtype=torch.bool, device=z.device)
            tokens, mask = torch.cat([tokens, z], dim=1), torch.cat([mask, ones], dim=1)
        x = self.latents[:num_latents].expand(tokens.shape[0], -1, -1)
        z = self.attention(x, self.norm_tokens(tokens), mask)
        for layer in self.layers:
            z = layer(z)
        return z


class CoTokenization(_TokenFusion):
    """Each of M: z = layers(Tok([v; t] given z)); Tok is latent attention over [v; t; z]."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.iterations = nn.ModuleList(
            _CoTokenIteration(config) for _ in range(config.num_iterations)
        )
        self.norm = nn.LayerNorm(config.width, eps=config.eps)

    def forward(
        self, v_BSD: Tensor, text_BLD: Tensor, mask_BL: Tensor, num_latents: int
    ) -> tuple[Tensor, Tensor | None]:
        tokens, mask = _joined(v_BSD, text_BLD, mask_BL)
        z = None
        for iteration in self.iterations:
            z = iteration(z, tokens, mask, num_latents)
        return self.norm(z), None


_FUSIONS = {
    "joint_adaptive": JointAdaptiveFusion,
    "concat": Concat,
    "cross_attention": CrossAttentionFusion,
    "perceiver": Perceiver,
    "co_tokenization": CoTokenization,
}


def make_fusion(config: FusionConfig) -> nn.Module:
    """The fusion that `config.kind` names."""
    return _FUSIONS[config.kind](config)
