"""Per-word supervision: each text token tells the words before it.

Who is left of whom is told by the order of words alone, and nothing but the
relative biases carries it; questions about the answer alone found that order
too late. The heads exist only in training; a bundle does not hold them.
Shapes: Q texts, L text tokens, T text width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tokenfuse_training.model.attend import widen

__all__ = ["WordOrderHeads", "num_asked"]

# `of the star`: the word two before says which of two things it is.
_OFFSETS = (1, 2)


def num_asked(text_QL: Tensor) -> int:
    """How many words of a batch's texts are told, over all offsets."""
    return sum(int((text_QL[:, offset:] != 0).sum()) for offset in _OFFSETS)


class WordOrderHeads(nn.Module):
    """One linear head per offset on the text encoder's output."""

    def __init__(self, width: int, vocab_size: int) -> None:
        super().__init__()
        self.before = nn.ModuleList(nn.Linear(width, vocab_size) for _ in _OFFSETS)

    def forward(self, encoded_QLT: Tensor, text_QL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cross-entropy summed over words and offsets, how many are told right, and of how many."""
        total = widen(encoded_QLT.new_zeros(()))
        rights = torch.zeros((), dtype=torch.int64, device=text_QL.device)
        seen = torch.zeros_like(rights)
        for offset, head in zip(_OFFSETS, self.before, strict=True):
            logits = widen(head(encoded_QLT[:, offset:])).flatten(0, 1)
            # Padding (0) behind the text asks nothing.
            asked = text_QL[:, offset:] != 0
            truth = torch.where(asked, text_QL[:, : text_QL.shape[1] - offset], 0).flatten()
            total = total + F.cross_entropy(logits, truth, ignore_index=0, reduction="sum")
            rights += ((logits.detach().argmax(-1) == truth) & asked.flatten()).sum()
            seen += asked.sum()
        return total, rights, seen
