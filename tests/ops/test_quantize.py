from __future__ import annotations

import numpy as np
import pytest

from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.ops import quantize, reference

K = (0, 1, 7, 8, 9, 15, 16, 17, 31, 33, 97, 768)


@pytest.mark.parametrize("k", K)
def test_gives_the_very_bytes_of_the_reference(isa, floats, k):
    for m in (0, 1, 5):
        x = floats(m, k) * floats(m, 1, scale=10.0)
        for got, want in zip(quantize(x, isa=isa), reference.quantize(x), strict=True):
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got, want)


def test_is_within_half_a_step(isa, floats):
    x = floats(40, 300)
    q, scale = quantize(x, isa=isa)
    assert np.abs(q).max(axis=1).tolist() == [127] * 40
    # Half a step, and the rounding of x * (127 / max): 127 times 3 half units in the last place.
    half = scale.astype(np.float64)[:, None] * (0.5 + 127 * 3 * 2.0**-24)
    assert (np.abs(q * scale.astype(np.float64)[:, None] - x) <= half).all()


def test_ties_go_to_even(isa):
    x = np.array([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, 126.5]], dtype=np.float32)
    q, scale = quantize(x, isa=isa)
    assert scale.tolist() == [1.0]
    assert q.tolist() == [[127, 0, 2, 2, 0, -2, 126]]


def test_strided_rows(isa, floats):
    wide = floats(21, 70)
    x = wide[::2, 3:36]
    for got, want in zip(quantize(x, isa=isa), quantize(x.copy(), isa=isa), strict=True):
        np.testing.assert_array_equal(got, want)


def test_extremes(isa):
    x = np.zeros((7, 20), dtype=np.float32)
    x[1, 3], x[2, 19], x[3, 0] = np.nan, np.inf, -np.inf
    x[4, 5], x[5, 17], x[6, 2] = 1e-31, 3.4e38, 1e-29
    q, scale = quantize(x, isa=isa)
    assert scale[0] == 0.0 and not q[0].any()
    assert np.isnan(scale[1:4]).all()
    assert scale[4] == 0.0 and not q[4].any()
    assert np.isfinite(scale[5:]).all() and q[5, 17] == 127 and q[6, 2] == 127


def test_what_does_not_fit_is_refused(floats):
    with pytest.raises(OpError, match="x is float64"):
        quantize(floats(3, 4).astype(np.float64))
    with pytest.raises(OpError, match="shape"):
        quantize(floats(3))
