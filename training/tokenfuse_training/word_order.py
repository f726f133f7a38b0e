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

__all__ = ["WordOrderHeads"]

# `of the star`: the word two before says which of two things it is.
_OFFSETS = (1, 2)


class WordOrderHeads(nn.Module):
    """One linear head per offset on the text encoder's output."""

    def __init__(self, width: int, vocab_size: int) -> None:
        super().__init__()
        self.before = nn.ModuleList(nn.Linear(width, vocab_size) for _ in _OFFSETS)

    def forward(self, encoded_QLT: Tensor, text_QL: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy over words and offsets, and the share of words told right."""
        losses, rights = [], []
        for offset, head in zip(_OFFSETS, self.before, strict=True):
            logits = head(encoded_QLT[:, offset:]).float().flatten(0, 1)
            # Padding (0) behind the text asks nothing.
            asked = (text_QL[:, offset:] != 0).flatten()
            truth = text_QL[:, :-offset].flatten()
            losses.append(F.cross_entropy(logits[asked], truth[asked]))
            rights.append((logits.detach()[asked].argmax(-1) == truth[asked]).float().mean())
        return torch.stack(losses).mean(), torch.stack(rights).mean()
