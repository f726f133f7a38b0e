"""[D] The words that a model writes for the labels of SNLI-VE."""

from __future__ import annotations

__all__ = ["LABEL_WORDS"]

LABEL_WORDS = {"entailment": "yes", "neutral": "maybe", "contradiction": "no"}
