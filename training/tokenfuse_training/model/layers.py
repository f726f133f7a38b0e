"""Pre-norm transformer parts shared by the image encoder and the fusion.

Shapes: B batch, Q queries, K keys, H heads, h head width, D width.
Weight-compatible with Hugging Face ViT and SigLIP: biases everywhere, layer
norm before attention and MLP, softmax scaled by 1/sqrt(h).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tokenfuse_training.model.attend import attend, key_bias

__all__ = ["MLP", "CrossAttention", "SelfLayer", "activate"]


def activate(x: Tensor, activation: str) -> Tensor:
    """GELU: exact for `gelu`, the tanh form for `gelu_tanh`."""
    return F.gelu(x, approximate="tanh" if activation == "gelu_tanh" else "none")


class CrossAttention(nn.Module):
    """Phi: multi-head attention of x over a source; self-attention when they are one.

    `Phi(x, s) = softmax((x Wq)(s Wk)^T / sqrt(h)) (s Wv) Wo`, all with biases.
    """

    def __init__(self, width: int, num_heads: int, source_width: int | None = None) -> None:
        super().__init__()
        source_width = width if source_width is None else source_width
        self.num_heads, self.scale = num_heads, (width // num_heads) ** -0.5
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(source_width, width)
        self.value = nn.Linear(source_width, width)
        self.output = nn.Linear(width, width)

    def forward(self, x_BQD: Tensor, source_BKD: Tensor, mask_BK: Tensor | None = None) -> Tensor:
        """Attend; `mask_BK` is true where a key may be seen."""

        bias = None if mask_BK is None else key_bias(mask_BK)
        y_BQD = attend(
            self.query(x_BQD),
            self.key(source_BKD),
            self.value(source_BKD),
            self.num_heads,
            self.scale,
            bias,
        )
        return self.output(y_BQD)


class MLP(nn.Module):
    """`MLP(x) = gelu(x Wup) Wdown`, with biases."""

    def __init__(self, width: int, hidden: int, activation: str = "gelu") -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.down(activate(self.up(x), self.activation))


class SelfLayer(nn.Module):
    """`x += Phi(LN x, LN x); x += MLP(LN x)`."""

    def __init__(
        self, width: int, num_heads: int, mlp_dim: int, *, activation: str, eps: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attention = CrossAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, mlp_dim, activation)

    def forward(self, x_BSD: Tensor, mask_BS: Tensor | None = None) -> Tensor:
        y_BSD = self.norm1(x_BSD)
        x_BSD = x_BSD + self.attention(y_BSD, y_BSD, mask_BS)
        return x_BSD + self.mlp(self.norm2(x_BSD))


def init_linear(module: nn.Module) -> None:
    """Scale-preserving start for a model trained from scratch: std 1/sqrt(fan in)."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=module.in_features**-0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_in = module.weight[0].numel()
        # GELU halves the second moment, as ReLU does: hence the 2.
        nn.init.normal_(module.weight, std=(2.0 / fan_in) ** 0.5)
        if module.bias is not None:
            torch.nn.init.zeros_(module.bias)
