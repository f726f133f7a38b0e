"""Per-patch supervision: each image token tells its patch's colour and kind.

The heads exist only in training; a bundle does not hold them.
Shapes: B pictures, S image tokens, C width.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["DenseHeads"]


class DenseHeads(nn.Module):
    """Two linear heads on the image encoder's output."""

    def __init__(self, width: int, num_colors: int, num_kinds: int) -> None:
        super().__init__()
        self.color = nn.Linear(width, num_colors)
        self.kind = nn.Linear(width, num_kinds)

    def forward(self, x_BSC: Tensor, color_BS: Tensor, kind_BS: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy, and accuracy of the kind on patches that hold an object.

        Empty patches are most of a picture, so they count a quarter.
        """
        color_logits = self.color(x_BSC).float().flatten(0, 1)
        kind_logits = self.kind(x_BSC).float().flatten(0, 1)
        color, kind = color_BS.flatten(), kind_BS.flatten()
        weight = (kind > 0).float() * 0.75 + 0.25
        losses = F.cross_entropy(color_logits, color, reduction="none")
        losses = losses + F.cross_entropy(kind_logits, kind, reduction="none")
        held = kind > 0
        right = (kind_logits.argmax(-1) == kind)[held].float().mean()
        return (losses * weight).sum() / weight.sum(), right
