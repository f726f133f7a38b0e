from __future__ import annotations

import numpy as np
import pytest

from tokenfuse_sdk import _native
from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.ops import linear_int8, quantize, reference

# 0 and 1; around tiles of 4 to 12 rows, panels of 8 to 64 outputs, groups of 2 and 4; primes.
M = (0, 1, 3, 5, 6, 7, 12, 13, 29)
N = (0, 1, 7, 8, 9, 15, 17, 31, 33, 63, 64, 65, 97)
K = (0, 1, 2, 3, 4, 5, 17, 64)
EPS = 2.0**-23


def bound(x, scale_N, weight, bias=None, residual=None):
    """The sum is exact; two products, the scale and two additions round."""
    q, scale = reference.quantize(x)
    size = np.abs(q.astype(np.int64) @ weight.T.astype(np.int64)) * np.outer(scale, scale_N)
    size = size + (0 if bias is None else np.abs(bias))
    size = size + (0 if residual is None else np.abs(residual))
    return 4 * EPS * size + 1e-37


@pytest.mark.parametrize("k", K)
def test_agrees_with_the_reference_at_every_size(isa, floats, check, k):
    for m in M:
        for n in N:
            x, b, r = floats(m, k), floats(n), floats(m, n)
            weight, scale = quantize(floats(n, k))
            want = reference.linear_int8(x, weight, scale, b, residual=r)
            got = linear_int8(x, weight, scale, b, residual=r, isa=isa)
            check(got, want, bound(x, scale, weight, b, r))


@pytest.mark.parametrize("activation", ["none", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("has_residual", [False, True])
def test_every_ending(isa, floats, check, activation, has_bias, has_residual):
    x = floats(13, 40)
    weight, scale = quantize(floats(70, 40, scale=0.3))
    b = floats(70) if has_bias else None
    r = floats(13, 70) if has_residual else None
    plain = reference.linear_int8(x, weight, scale, b)
    want = reference.linear_int8(x, weight, scale, b, residual=r, activation=activation)
    got = linear_int8(x, weight, scale, b, residual=r, activation=activation, isa=isa)
    # gelu has a slope of at most 1.13, and is within 2e-4 max(1, |x|).
    near = 0 if activation == "none" else 2e-4 * np.maximum(1.0, np.abs(plain))
    check(got, want, 1.13 * bound(x, scale, weight, b, r) + near)


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
def test_gelu_is_near_on_every_scale(isa, activation):
    x = np.linspace(-60, 60, 50_001, dtype=np.float32)[:, None]
    weight, scale = np.full((1, 1), 127, np.int8), np.full(1, 1 / 127, np.float32)
    got = linear_int8(x, weight, scale, activation=activation, isa=isa)
    want = reference.linear_int8(x, weight, scale, activation=activation)
    assert (np.abs(got - want) <= 2e-4 * np.maximum(1.0, np.abs(x))).all()


def test_the_largest_sums_do_not_saturate(isa):
    """u8 times s8 in pairs would leave 16 bits; 127 * 127 * K needs 30."""
    for sign in (1, -1):
        x = np.full((7, 40_000), sign, dtype=np.float32)
        weight = np.full((70, 40_000), 127, dtype=np.int8)
        got = linear_int8(x, weight, np.ones(70, np.float32), isa=isa)
        want = sign * 127.0 * 40_000
        np.testing.assert_allclose(got, np.full((7, 70), want), rtol=4 * EPS, atol=0)


def test_every_instruction_set_gives_the_same_bits(floats):
    """Where no rounding is left to the ending: bias, residual and activation away."""
    x = floats(29, 200)
    weight, scale = quantize(floats(97, 200))
    results = [linear_int8(x, weight, scale, isa=isa) for isa in _native.available_isas()]
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_is_as_good_as_eight_bits_can_be(isa, floats):
    """The error of a product of K rounded pairs, with steps s and t: each factor is off by a
    uniform half step, so that the sum is off by sqrt(K / 12 (s^2 w^2 + t^2 x^2))."""
    x, w = floats(64, 768), floats(128, 768, scale=0.05)
    weight, t = quantize(w)
    _, s = quantize(x)
    error = linear_int8(x, weight, t, isa=isa) - x.astype(np.float64) @ w.T
    expected = np.sqrt(
        (np.square(s)[:, None] * np.square(w).sum(1) + np.square(t) * np.square(x).sum(1)[:, None])
        / 12
    )
    assert 0.8 < np.sqrt(np.mean(np.square(error / expected))) < 1.2


@pytest.mark.parametrize("m", [1, 13, 196])
def test_threads_change_no_bit(isa, floats, m):
    x, b = floats(m, 256), floats(300)
    weight, scale = quantize(floats(300, 256))
    one = linear_int8(x, weight, scale, b, isa=isa)
    for num_threads in (2, 3, 8):
        got = linear_int8(x, weight, scale, b, isa=isa, num_threads=num_threads)
        np.testing.assert_array_equal(got, one)


def test_nan_and_infinity_stay_in_their_row(isa, floats):
    x = floats(9, 20)
    weight, scale = quantize(floats(70, 20))
    x[4, 3], x[6, 5] = np.nan, np.inf
    y = linear_int8(x, weight, scale, isa=isa)
    assert np.isnan(y[[4, 6]]).all()
    assert np.isfinite(np.delete(y, [4, 6], axis=0)).all()


def test_what_does_not_fit_is_refused(floats):
    x = floats(3, 4)
    weight, scale = quantize(floats(5, 4))
    with pytest.raises(OpError, match="K must be the same"):
        linear_int8(x[:, :3], weight, scale)
    with pytest.raises(OpError, match="need an int8 array"):
        linear_int8(x, weight.astype(np.float32), scale)
    with pytest.raises(OpError, match="N must be the same"):
        linear_int8(x, weight, scale[:4])
    with pytest.raises(OpError, match="-128"):
        linear_int8(x, np.full((5, 4), -128, np.int8), scale)
    with pytest.raises(OpError, match="32 bits"):
        linear_int8(floats(1, 70_000), np.zeros((1, 70_000), np.int8), floats(1))
