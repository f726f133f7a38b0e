from __future__ import annotations

import numpy as np
import pytest

from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.ops import log_sum_exp, reference

# Around a vector, four of them, and a block of 1,024; and a vocabulary.
N = (1, 2, 7, 8, 9, 15, 16, 17, 63, 64, 65, 97, 1023, 1024, 1025, 2048, 32128)
EPS = float(np.finfo(np.float32).eps)


def bound(want: np.ndarray, n: int, spread: float) -> np.ndarray:
    """Each exponential is off by 2 eps and by what the difference lost, eps spread / 2; sums of a
    block in float32 by at most its length in eps; the logarithm makes that absolute. The result is
    rounded to float32."""
    return (min(n, 1024) + 2 + spread / 2) * EPS + EPS * np.abs(want)


@pytest.mark.parametrize("n", N)
def test_agrees_with_the_reference(isa, floats, check, n):
    for m in (0, 1, 5):
        x = floats(m, n, scale=4.0)
        y, top = log_sum_exp(x, isa=isa)
        want, want_top = reference.log_sum_exp(x)
        check(y, want, bound(want, n, 40.0))
        assert top.dtype == np.int32
        np.testing.assert_array_equal(top, want_top)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 100.0, 1e30])
def test_magnitudes(isa, floats, check, scale):
    x = floats(4, 1500, scale=scale)
    y, top = log_sum_exp(x, isa=isa)
    want, want_top = reference.log_sum_exp(x)
    # Below 2^-126 exponentials are zero, so only the distances before that count.
    check(y, want, bound(want, 1500, min(scale, 88.0)))
    np.testing.assert_array_equal(top, want_top)


@pytest.mark.parametrize("n", [3, 40, 3000])
def test_the_first_of_several_largest(isa, n):
    x = np.full((n, n), -1.0, np.float32)
    for first in range(n):
        x[first, first:] = 2.0
    np.testing.assert_array_equal(log_sum_exp(x, isa=isa)[1], np.arange(n))


def test_a_constant_row(isa, check):
    y, top = log_sum_exp(np.full((1, 5000), 3.0, np.float32), isa=isa)
    check(y, np.array([3.0 + np.log(5000.0)]), 2 * EPS * 12.0)
    assert top.tolist() == [0]


def test_minus_infinity_has_no_share(isa, check):
    x = np.full((1, 70), -np.inf, np.float32)
    x[0, [5, 66]] = 1.0
    y, top = log_sum_exp(x, isa=isa)
    check(y, np.array([1.0 + np.log(2.0)]), 4 * EPS)
    assert top.tolist() == [5]


def test_what_is_not_finite_stays_in_its_row(isa, floats):
    x = floats(5, 1100)
    x[1, 1050], x[2, 7], x[3] = np.nan, np.inf, -np.inf
    y, top = log_sum_exp(x, isa=isa)
    assert np.isfinite(y[[0, 4]]).all()
    assert np.isnan(y[1:4]).all()
    assert top[1] == np.nanargmax(x[1])
    assert top[2:4].tolist() == [7, 0]
    assert 0 <= log_sum_exp(np.full((1, 20), np.nan, np.float32), isa=isa)[1][0] < 20


def test_strided_rows(isa, floats):
    wide = floats(6, 90)
    for got, want in zip(
        log_sum_exp(wide[::2, 5:82], isa=isa),
        log_sum_exp(wide[::2, 5:82].copy(), isa=isa),
        strict=True,
    ):
        np.testing.assert_array_equal(got, want)


def test_what_does_not_fit_is_refused(floats):
    with pytest.raises(OpError, match="one column or more"):
        log_sum_exp(floats(3, 0))
    with pytest.raises(OpError, match="x is float64"):
        log_sum_exp(floats(3, 4).astype(np.float64))
