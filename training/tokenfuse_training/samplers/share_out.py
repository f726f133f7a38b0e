"""Shares to whole numbers."""

from __future__ import annotations

import numpy as np

__all__ = ["share_out"]


def share_out(shares: np.ndarray, total: int) -> tuple[int, ...]:
    """Whole numbers in proportion to `shares` that sum to `total`, each at least 1.

    Largest remainder: everyone gets 1, then the whole part of what its share is above that, and
    what is left goes to the largest remainders, ties to the lower index.

    Args:
        shares: float64 (K,), at least 0, that sum to 1.
        total: at least K.
    """
    above = np.maximum(np.asarray(shares, dtype=np.float64) * total - 1.0, 0.0)
    left = total - len(above)
    assert left >= 0, f"total={total} is less than {len(above)} shares"
    if above.sum() > 0:
        above *= left / above.sum()
    whole = np.floor(above).astype(np.int64)
    rest = left - int(whole.sum())
    # Stable, so that ties go to the lower index.
    order = np.argsort(-(above - whole), kind="stable")
    whole[order[:rest]] += 1
    return tuple(int(count) + 1 for count in whole)
