"""95% intervals of mean scores.

[D] Questions of one picture are not independent: whoever misreads it fails several. So pictures
are drawn anew, with all their questions (cluster bootstrap, percentile interval).
"""

from __future__ import annotations

import numpy as np

__all__ = ["NUM_RESAMPLES", "score_intervals"]

NUM_RESAMPLES = 2_000
_TAIL = 0.025
# Numbers drawn at a time: 16 MB.
_BLOCK = 1 << 21


def score_intervals(
    score_Q: np.ndarray, picture_Q: np.ndarray, family_Q: np.ndarray, *, num_families: int
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of the mean score of each family, and of all.

    Where all scores are 1, drawing anew says nothing; then the interval is that of C pictures
    which are right or wrong as a whole (Clopper-Pearson): from 0.025^(1/C) to 1, and likewise
    where all are 0. One picture with both tells nothing: 0 to 1.

    Args:
        score_Q: 0 to 1.
        picture_Q: which picture a question is of, from 0.
        family_Q: which family, from 0.
        num_families: F.

    Returns:
        low and high, float64 (F + 1,), the last for all; a family with no question has 0 to 1.
    """
    pictures, picture_Q = np.unique(picture_Q, return_inverse=True)
    shape_CF = (len(pictures), num_families)
    cell_Q = picture_Q.reshape(-1) * num_families + family_Q
    sum_CF = np.bincount(cell_Q, score_Q, minlength=shape_CF[0] * shape_CF[1]).reshape(shape_CF)
    count_CF = np.bincount(cell_Q, minlength=shape_CF[0] * shape_CF[1]).reshape(shape_CF)
    # The last column is all families.
    sum_CF = np.hstack([sum_CF, sum_CF.sum(axis=1, keepdims=True)])
    count_CF = np.hstack([count_CF, count_CF.sum(axis=1, keepdims=True)]).astype(np.float64)
    mean_RF = _resampled(sum_CF, count_CF)
    low_F, high_F = np.zeros(num_families + 1), np.ones(num_families + 1)
    asked_F = (count_CF > 0).sum(axis=0)
    for family in range(num_families + 1):
        total, count = sum_CF[:, family].sum(), count_CF[:, family].sum()
        if total == count > 0:
            low_F[family] = _TAIL ** (1 / asked_F[family])
        elif total == 0 < count:
            high_F[family] = 1 - _TAIL ** (1 / asked_F[family])
        elif asked_F[family] > 1:
            ends = np.nanquantile(mean_RF[:, family], [_TAIL, 1 - _TAIL])
            low_F[family], high_F[family] = ends
    return low_F, high_F


def _resampled(sum_CF: np.ndarray, count_CF: np.ndarray) -> np.ndarray:
    """Means (R, F) over pictures drawn with replacement; NaN where no question was drawn."""
    draw = np.random.Generator(np.random.Philox(key=[0, 0]))
    C = len(sum_CF)
    means = []
    at_a_time = max(1, _BLOCK // max(C, 1))
    for first in range(0, NUM_RESAMPLES if C else 0, at_a_time):
        rows = min(at_a_time, NUM_RESAMPLES - first)
        drawn_RC = draw.integers(C, size=(rows, C)) + C * np.arange(rows)[:, None]
        times_RC = np.bincount(drawn_RC.ravel(), minlength=rows * C).reshape(rows, C)
        times_RC = times_RC.astype(np.float64)
        with np.errstate(invalid="ignore"):
            means.append((times_RC @ sum_CF) / (times_RC @ count_CF))
    return np.concatenate(means) if means else np.empty((0, sum_CF.shape[1]))
