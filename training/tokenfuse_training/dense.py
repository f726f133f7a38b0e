"""Per-patch supervision: each image token tells its patch's colour and kind.

The heads exist only in training; a bundle does not hold them.
Shapes: B pictures, S image tokens, C width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tokenfuse_training.model.attend import widen

__all__ = ["DenseHeads", "patch_weights"]


def patch_weights(kind_BS: Tensor) -> Tensor:
    """How much each patch counts, by its label of the kind; below 0 there is none to learn.

    Empty patches are most of a picture, so they count a quarter.
    """
    return torch.where(kind_BS > 0, 1.0, 0.25) * (kind_BS >= 0)


class DenseHeads(nn.Module):
    """Two linear heads on the image encoder's output."""

    def __init__(self, width: int, num_colors: int, num_kinds: int) -> None:
        super().__init__()
        self.color = nn.Linear(width, num_colors)
        self.kind = nn.Linear(width, num_kinds)

    def forward(
        self, x_BSC: Tensor, color_BS: Tensor, kind_BS: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Weighted cross-entropy of both, summed over patches.

        With it, of the patches that hold an object, how many tell its kind and how many there are.
        """
        color_logits = widen(self.color(x_BSC)).flatten(0, 1)
        kind_logits = widen(self.kind(x_BSC)).flatten(0, 1)
        color, kind = color_BS.flatten(), kind_BS.flatten()
        losses = F.cross_entropy(color_logits, color, ignore_index=-1, reduction="none")
        losses = losses + F.cross_entropy(kind_logits, kind, ignore_index=-1, reduction="none")
        held = kind > 0
        right = (kind_logits.detach().argmax(-1) == kind) & held
        return (losses * patch_weights(kind).to(losses.dtype)).sum(), right.sum(), held.sum()
