from __future__ import annotations

import numpy as np
import pytest

from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.ops import reference, rms_norm

N = (1, 2, 7, 8, 9, 15, 16, 17, 33, 97, 768)
EPS = np.finfo(np.float32).eps


def bound(want: np.ndarray) -> np.ndarray:
    """All terms are positive: the sum is off by n eps / 2, its root by half of that, and four
    roundings follow."""
    return (want.shape[-1] / 2 + 4) * EPS * np.abs(want) + np.finfo(np.float32).tiny


@pytest.mark.parametrize("n", N)
def test_agrees_with_the_reference(isa, floats, check, n):
    for m in (0, 1, 5):
        x, w = floats(m, n), floats(n)
        want = reference.rms_norm(x, w)
        check(rms_norm(x, w, isa=isa), want, bound(want))


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e3, 1e12])
def test_magnitudes(isa, floats, check, scale):
    x, w = floats(4, 100, scale=scale), floats(100)
    want = reference.rms_norm(x, w)
    check(rms_norm(x, w, isa=isa), want, bound(want))


def test_a_zero_row_stays_zero(isa, floats):
    assert not rms_norm(np.zeros((2, 19), np.float32), floats(19), isa=isa).any()


def test_strided_rows(isa, floats):
    wide, w = floats(6, 50), floats(37)
    got = rms_norm(wide[::2, 5:42], w, isa=isa)
    np.testing.assert_array_equal(got, rms_norm(wide[::2, 5:42].copy(), w, isa=isa))


def test_nan_stays_in_its_row(isa, floats):
    x, w = floats(3, 20), floats(20)
    x[1, 7] = np.nan
    y = rms_norm(x, w, isa=isa)
    assert np.isnan(y[1]).all()
    assert np.isfinite(y[[0, 2]]).all()


def test_what_does_not_fit_is_refused(floats):
    with pytest.raises(OpError, match="weight has 3"):
        rms_norm(floats(2, 4), floats(3))
