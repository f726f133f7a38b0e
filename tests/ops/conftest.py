"""What the op tests share: instruction sets, random arrays, and error bounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from tokenfuse_sdk import _native

EPS = float(np.finfo(np.float32).eps)
TINY = float(np.finfo(np.float32).tiny)


@pytest.fixture(params=_native.available_isas())
def isa(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def floats() -> Callable[..., np.ndarray]:
    rng = np.random.default_rng(20261124)
    return lambda *shape, scale=1.0: (scale * rng.standard_normal(shape)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Error bounds, each with its derivation; eps is 2^-23, twice the unit roundoff.

    A bound that is derived holds for every order of the sums, so for every variant.
    """

    @staticmethod
    def products(terms: int, magnitude: np.ndarray) -> np.ndarray:
        """A sum of `terms` products, a bias and a residual: (n + 2) eps sum |a_i b_i|."""
        return (terms + 2) * EPS * np.maximum(magnitude, TINY)

    @staticmethod
    def gelu(x: np.ndarray) -> np.ndarray:
        """What the op promises: 4e-7 max(1, |x|)."""
        return 4e-7 * np.maximum(1.0, np.abs(x))

    @staticmethod
    def norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | float = 0.0) -> np.ndarray:
        """(x - mean) / sqrt(var): the mean is off by n eps mean |x|, which the division by the
        deviation d magnifies; the variance, square root and three products add some n eps
        relative to the result, which is at most sqrt(n)."""
        n = x.shape[-1]
        x = x.astype(np.float64)
        d = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-6)
        lost = (n + 4) * EPS * np.abs(x).mean(axis=-1, keepdims=True) / d
        result = np.abs(x - x.mean(axis=-1, keepdims=True)) / d
        return (lost + (n + 8) * EPS * result) * np.abs(weight) + 2 * EPS * np.abs(bias) + TINY

    @staticmethod
    def softmax_sum(score_error: float, keys: int, largest: float) -> float:
        """sum w_j v_j with weights off by a relative 2 (error of the scores) + some eps of exp
        (2 ulp) and of the sum (n eps): twice that times the largest value."""
        return 2.0 * (2.0 * score_error + (2 * keys + 16) * EPS) * largest + TINY


@pytest.fixture(scope="session")
def bounds() -> Bounds:
    return Bounds()
