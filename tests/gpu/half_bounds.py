"""What rounding to 16 bits, and sums in float32, may change."""

from __future__ import annotations

import numpy as np

__all__ = ["EPS", "HALF", "SMALLEST", "softmax_bound", "sum_bound"]

# Twice the unit roundoff of float32.
EPS = float(np.finfo(np.float32).eps)
# Of a number that is rounded to 16 bits, relative to it.
HALF = {"fp16": 2.0**-11, "bf16": 2.0**-8}
# The step of float16's smallest numbers.
SMALLEST = 2.0**-24


def sum_bound(terms: int, magnitude: np.ndarray) -> np.ndarray:
    """A sum of n products, a bias, a residual and an original in float32: (n + 4) eps of all."""
    return (terms + 4) * EPS * magnitude + 1e-30


def softmax_bound(score_error: float, keys: int, largest: float, precision: str) -> float:
    """Of sum w_j v_j, w a softmax, v at most `largest`.

    In float32 as on the CPU, with 8 eps more for the device's exponential; the weights are rounded
    to 16 bits before their product, those below float16's smallest numbers to multiples of that;
    and so is the result.
    """
    exact = 2.0 * (2.0 * score_error + (2 * keys + 24) * EPS)
    return (exact + 3 * HALF[precision] + keys * SMALLEST) * largest + SMALLEST
