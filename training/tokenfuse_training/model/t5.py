"""T5 v1.1 parts: text encoder and answer decoder.

Weight-compatible with Hugging Face T5 v1.1: RMS norm, no biases, no softmax
scale, one relative position table per stack, gated tanh-GELU, an output head
of its own. Shapes: B batch, L text tokens, A answer tokens, N fused tokens,
T width, H heads, h head width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tokenfuse_sdk.config import DecoderConfig, TextConfig
from tokenfuse_training.model.attend import attend, key_bias, widen

__all__ = ["AnswerDecoder", "RMSNorm", "TextEncoder", "relative_buckets"]


class RMSNorm(nn.Module):
    """`x / sqrt(mean(x^2) + eps) * w`."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = widen(x)
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)) * self.weight


def relative_buckets(
    num_queries: int, num_keys: int, *, bidirectional: bool, num_buckets: int, max_distance: int
) -> Tensor:
    """T5's bucket of each (query, key) distance, (Q, K) int64.

    Half of the buckets are exact small distances, the rest grow with the
    logarithm up to `max_distance`; both directions share them when
    `bidirectional`, otherwise keys ahead fall into bucket 0.
    """
    distance = torch.arange(num_keys)[None, :] - torch.arange(num_queries)[:, None]
    offset = torch.zeros_like(distance)
    if bidirectional:
        num_buckets //= 2
        offset = (distance > 0).long() * num_buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = num_buckets // 2
    ratio = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = exact + (ratio * (num_buckets - exact)).long()
    return offset + torch.where(distance < exact, distance, far.clamp(max=num_buckets - 1))


class T5Attention(nn.Module):
    """`softmax((x Wq)(s Wk)^T + bias) (s Wv) Wo`: no scale, no biases in the projections."""

    def __init__(self, width: int, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, head_dim
        inner = num_heads * head_dim
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(width, inner, bias=False)
        self.value = nn.Linear(width, inner, bias=False)
        self.output = nn.Linear(inner, width, bias=False)

    def init(self) -> None:
        """The missing 1/sqrt(h) sits in the start of the query weights."""
        width, inner = self.query.in_features, self.query.out_features
        nn.init.normal_(self.query.weight, std=(width * self.head_dim) ** -0.5)
        nn.init.normal_(self.key.weight, std=width**-0.5)
        nn.init.normal_(self.value.weight, std=width**-0.5)
        nn.init.normal_(self.output.weight, std=inner**-0.5)

    def forward(self, x_BQT: Tensor, source_BKT: Tensor, bias: Tensor | None) -> Tensor:
        q_BQI, k_BKI, v_BKI = self.query(x_BQT), self.key(source_BKT), self.value(source_BKT)
        return self.output(attend(q_BQI, k_BKI, v_BKI, self.num_heads, 1.0, bias))


class GatedMLP(nn.Module):
    """`(gelu_tanh(x Wgate) * (x Wup)) Wdown`, no biases."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.gate(x), approximate="tanh") * self.up(x))


class EncoderLayer(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.norm1 = RMSNorm(config.width, config.eps)
        self.attention = T5Attention(config.width, config.num_heads, config.head_dim)
        self.norm2 = RMSNorm(config.width, config.eps)
        self.mlp = GatedMLP(config.width, config.mlp_dim)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, bias)
        return x + self.mlp(self.norm2(x))


class TextEncoder(nn.Module):
    """Embedded text to `text_BLT`."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.relative_bias = nn.Embedding(config.num_buckets, config.num_heads)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.width, config.eps)

    def forward(self, x_BLT: Tensor, mask_BL: Tensor) -> Tensor:
        length = x_BLT.shape[1]
        buckets = relative_buckets(
            length,
            length,
            bidirectional=True,
            num_buckets=self.config.num_buckets,
            max_distance=self.config.max_distance,
        )
        bias = self.relative_bias(buckets.to(x_BLT.device)).permute(2, 0, 1)[None]
        bias = widen(bias) + key_bias(mask_BL)
        for layer in self.layers:
            x_BLT = layer(x_BLT, bias)
        return self.norm(x_BLT)


class DecoderLayer(nn.Module):
    def __init__(self, width: int, config: DecoderConfig) -> None:
        super().__init__()
        self.norm1 = RMSNorm(width, config.eps)
        self.self_attention = T5Attention(width, config.num_heads, config.head_dim)
        self.norm2 = RMSNorm(width, config.eps)
        self.cross_attention = T5Attention(width, config.num_heads, config.head_dim)
        self.norm3 = RMSNorm(width, config.eps)
        self.mlp = GatedMLP(width, config.mlp_dim)

    def forward(
        self, x: Tensor, fused: Tensor, self_bias: Tensor, cross_bias: Tensor | None
    ) -> Tensor:
        y = self.norm1(x)
        x = x + self.self_attention(y, y, self_bias)
        x = x + self.cross_attention(self.norm2(x), fused, cross_bias)
        return x + self.mlp(self.norm3(x))


class AnswerDecoder(nn.Module):
    """Embedded answer tokens and fused tokens to logits."""

    def __init__(self, text: TextConfig, config: DecoderConfig) -> None:
        super().__init__()
        self.text, self.config = text, config
        self.relative_bias = nn.Embedding(text.num_buckets, config.num_heads)
        self.layers = nn.ModuleList(
            DecoderLayer(text.width, config) for _ in range(config.num_layers)
        )
        self.norm = RMSNorm(text.width, config.eps)
        self.lm_head = nn.Linear(text.width, text.vocab_size, bias=False)

    def forward(
        self, x_BAT: Tensor, fused_BNT: Tensor, fused_mask_BN: Tensor | None = None
    ) -> Tensor:
        length = x_BAT.shape[1]
        buckets = relative_buckets(
            length,
            length,
            bidirectional=False,
            num_buckets=self.text.num_buckets,
            max_distance=self.text.max_distance,
        )
        bias = widen(self.relative_bias(buckets.to(x_BAT.device)).permute(2, 0, 1)[None])
        low = torch.finfo(torch.float32).min
        ahead = torch.ones(length, length, dtype=torch.bool, device=x_BAT.device).triu(1)
        self_bias = bias.masked_fill(ahead, low)
        cross_bias = None if fused_mask_BN is None else key_bias(fused_mask_BN)
        for layer in self.layers:
            x_BAT = layer(x_BAT, fused_BNT, self_bias, cross_bias)
        return self.lm_head(self.norm(x_BAT))
