"""Image encoder: a ViT, with an optional convolutional stem.

Shapes: B batch, S image tokens, C width, G grid side.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from tokenfuse_sdk.config import VisionConfig
from tokenfuse_training.model.layers import SelfLayer, activate

__all__ = ["VisionEncoder", "sincos_positions"]


def sincos_positions(grid_size: int, width: int) -> Tensor:
    """Sine-cosine positions of a square grid, (G*G, C): the start of the learned ones.

    The first half of the channels encodes the row, the second the column, so
    that a model trained on few pictures knows from the start where a patch is.
    """
    quarter = max(width // 4, 1)
    omega = 1.0 / 100.0 ** (torch.arange(quarter) / quarter)
    angle = torch.arange(grid_size)[:, None] * omega[None]
    axis = torch.cat([angle.sin(), angle.cos()], dim=1)
    rows = axis[:, None, :].expand(-1, grid_size, -1)
    cols = axis[None, :, :].expand(grid_size, -1, -1)
    grid = torch.cat([rows, cols], dim=-1).reshape(grid_size**2, -1)
    out = torch.zeros(grid_size**2, width)
    used = min(width, grid.shape[1])
    out[:, :used] = grid[:, :used]
    return out


class VisionEncoder(nn.Module):
    """Pictures to tokens: stem, patch convolution, positions, layers, layer norm."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        widths = (3, *config.stem_widths)
        self.stem = nn.ModuleList(
            nn.Conv2d(a, b, kernel_size=3, stride=2, padding=1)
            for a, b in itertools.pairwise(widths)
        )
        kernel = config.patch_kernel
        self.patch = nn.Conv2d(widths[-1], config.width, kernel_size=kernel, stride=kernel)
        num_first = config.num_class_tokens
        if num_first:
            # Class and distillation token.
            self.class_token = nn.Parameter(torch.randn(num_first, config.width) * 0.02)
        positions = sincos_positions(config.grid_size, config.width)
        first = torch.zeros(num_first, config.width)
        self.position = nn.Parameter(torch.cat([first, positions]))
        self.layers = nn.ModuleList(
            SelfLayer(
                config.width,
                config.num_heads,
                config.mlp_dim,
                activation=config.activation,
                eps=config.eps,
            )
            for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.width, eps=config.eps)

    def forward(self, image_BHW3: Tensor) -> Tensor:
        """Encode normalised pictures (B, image_size, image_size, 3) to `x_BSC`."""
        x = image_BHW3.permute(0, 3, 1, 2)
        for conv in self.stem:
            x = activate(conv(x), self.config.activation)
        x_BSC = self.patch(x).flatten(2).transpose(1, 2)
        if self.config.class_token:
            first = self.class_token.expand(x_BSC.shape[0], -1, -1)
            x_BSC = torch.cat([first, x_BSC], dim=1)
        x_BSC = x_BSC + self.position
        for layer in self.layers:
            x_BSC = layer(x_BSC)
        return self.norm(x_BSC)
