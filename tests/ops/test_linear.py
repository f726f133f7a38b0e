from __future__ import annotations

import numpy as np
import pytest

from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.ops import linear, reference

# 0 and 1; around 8 and 16 lanes, tiles of 4 to 14 rows, panels of 8 to 48 outputs; primes.
M = (0, 1, 3, 4, 5, 13, 14, 15, 29)
N = (0, 1, 7, 8, 9, 15, 16, 17, 31, 33, 47, 49, 97)
K = (0, 1, 2, 17, 64)


@pytest.mark.parametrize("k", K)
def test_agrees_with_the_reference_at_every_size(isa, floats, check, bounds, k):
    for m in M:
        for n in N:
            x, w, b, r = floats(m, k), floats(n, k), floats(n), floats(m, n)
            want = reference.linear(x, w, b, residual=r)
            magnitude = np.abs(x) @ np.abs(w).T + np.abs(b) + np.abs(r)
            check(linear(x, w, b, residual=r, isa=isa), want, bounds.products(k, magnitude))


@pytest.mark.parametrize("activation", ["none", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("has_residual", [False, True])
def test_every_ending(isa, floats, check, bounds, activation, has_bias, has_residual):
    x, w = floats(13, 40), floats(50, 40, scale=0.3)
    b = floats(50) if has_bias else None
    r = floats(13, 50) if has_residual else None
    plain = reference.linear(x, w, b)
    want = reference.linear(x, w, b, residual=r, activation=activation)
    magnitude = np.abs(x) @ np.abs(w).T + (0 if b is None else np.abs(b))
    magnitude = magnitude + (0 if r is None else np.abs(r))
    # gelu has a slope of at most 1.13.
    bound = 1.13 * bounds.products(40, magnitude) + bounds.gelu(plain)
    check(linear(x, w, b, residual=r, activation=activation, isa=isa), want, bound)


def test_strided_and_misaligned_rows(isa, floats, check, bounds):
    wide = floats(21, 70)
    x, w = wide[::2, 3:36], floats(19, 33)
    assert x.strides[0] == 2 * 70 * 4
    check(
        linear(x, w, isa=isa),
        reference.linear(x, w),
        bounds.products(33, np.abs(x) @ np.abs(w).T),
    )
    reversed_columns = wide[:, 35:2:-1]
    got = linear(reversed_columns, w, isa=isa)
    np.testing.assert_array_equal(got, linear(reversed_columns.copy(), w, isa=isa))


# 1 and 13 leave a lone row behind the tiles of every variant: it is summed in another order.
@pytest.mark.parametrize("m", [1, 13, 64])
def test_threads_change_no_bit(isa, floats, m):
    x, w, b = floats(m, 256), floats(300, 256), floats(300)
    one = linear(x, w, b, isa=isa)
    for num_threads in (2, 3, 8):
        np.testing.assert_array_equal(linear(x, w, b, isa=isa, num_threads=num_threads), one)


def test_nan_and_infinity_go_where_they_belong(isa, floats):
    x, w = floats(9, 20), floats(33, 20)
    x[4, 3], x[6, 5] = np.nan, np.inf
    y = linear(x, w, isa=isa)
    assert np.isnan(y[4]).all()
    assert np.isinf(y[6]).all()
    assert np.isfinite(np.delete(y, [4, 6], axis=0)).all()


def test_what_does_not_fit_is_refused(floats):
    x, w = floats(3, 4), floats(5, 4)
    with pytest.raises(OpError, match="K must be the same: x has 3, weight has 4"):
        linear(x[:, :3], w)
    with pytest.raises(OpError, match="x is float64"):
        linear(x.astype(np.float64), w)
    with pytest.raises(OpError, match="x is list"):
        linear([[1.0]], w)
    with pytest.raises(OpError, match="shape"):
        linear(x[0], w)
    with pytest.raises(OpError, match="bias has 4"):
        linear(x, w, floats(4))
    with pytest.raises(OpError, match="residual"):
        linear(x, w, residual=floats(5, 3))
    with pytest.raises(OpError, match="activation='relu'"):
        linear(x, w, activation="relu")
    with pytest.raises(OpError, match="'mmx' is not known"):
        linear(x, w, isa="mmx")
    for num_threads in (0, -1, 1.0, True, 10**6):
        with pytest.raises(OpError, match="num_threads"):
            linear(x, w, num_threads=num_threads)
