"""Shares that no loss changes: the controls that every adaptive sampler is held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tokenfuse_training.samplers.checks import check_values, read_state

__all__ = ["FixedShares"]


class FixedShares:
    """A sampler (see `sampler.py`) that stays what it is.

    Args:
        kind: its name.
        shares_K: positive; made to sum to 1.
    """

    needs_drops = False

    def __init__(self, kind: str, shares_K: np.ndarray) -> None:
        self._kind = kind
        self._shares_K = np.asarray(shares_K, dtype=np.float64) / np.sum(shares_K)

    def shares(self) -> np.ndarray:
        return self._shares_K.copy()

    def observe(self, step: int, losses: Mapping[int, float], drops: Mapping[int, float]) -> None:
        check_values("loss", step, losses, len(self._shares_K))

    def facts(self) -> dict[str, list[float]]:
        return {"probability": self._shares_K.tolist()}

    def state_dict(self) -> dict[str, Any]:
        return {"kind": self._kind}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        read_state(state, kind=self._kind, names=())
