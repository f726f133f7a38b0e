from __future__ import annotations

import numpy as np
import pytest

from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.ops import attention_int16, reference

EPS = np.finfo(np.float32).eps
STEP = 1 / 32767


def of_rounded_inputs(q, k, v, scale: float, bias=None) -> float:
    """What is left once the inputs are rounded: float32 scores, an exponential within 4e-6, and
    weights off by half a step each."""
    keys = k.shape[0]
    magnitude = abs(scale) * np.einsum("qhd,khd->hqk", np.abs(q), np.abs(k)).max(initial=0.0)
    if bias is not None:
        magnitude += np.abs(np.where(np.isinf(bias), 0.0, bias)).max(initial=0.0)
    relative = 2 * (6 * EPS * magnitude + 5e-6) + (2 * keys + 16) * EPS
    return (relative + keys * STEP / 2) * 1.01 * np.abs(v).max(initial=0.0) + 1e-37


def of_inputs(q, k, v, scale: float) -> float:
    """The same and the steps: every score is off by half a step of q and of k times the other's
    magnitudes, every value by half a step."""
    n = min(32767.0, np.floor(np.sqrt((2**31 - 1) / q.shape[2])))
    a, b = np.abs(q), np.abs(k)
    half_q, half_k = a.max(initial=0) / n / 2, b.max(initial=0) / n / 2
    score = abs(scale) * (
        half_q * b.sum(2).max(initial=0)
        + half_k * a.sum(2).max(initial=0)
        + q.shape[2] * half_q * half_k
    )
    largest = np.abs(v).max(initial=0.0)
    return of_rounded_inputs(q, k, v, scale) + 2.02 * score * largest + largest * STEP / 2


@pytest.mark.parametrize("head_dim", [1, 7, 8, 16, 17, 32, 33, 64])
def test_agrees_with_the_reference_at_every_size(isa, floats, check, head_dim):
    scale = head_dim**-0.5
    # Around tiles of 4, 5, 13 and 14 rows, vectors of 8 and 16, pairs of keys.
    for queries in (0, 1, 4, 5, 6, 13, 14, 15, 29):
        for keys in (0, 1, 2, 7, 16, 17, 31, 33, 97):
            q, k, v = (floats(n, 3, head_dim) for n in (queries, keys, keys))
            bias = floats(3, queries, keys)
            got = attention_int16(q, k, v, scale=scale, bias=bias, isa=isa)
            want = reference.attention_int16(q, k, v, scale=scale, bias=bias)
            check(got, want, of_rounded_inputs(q, k, v, scale, bias))


def test_is_near_attention_without_rounding(isa, floats, check):
    for head_dim in (16, 64, 129):
        q, k, v = (
            floats(40, 2, head_dim, scale=3),
            floats(196, 2, head_dim),
            floats(196, 2, head_dim),
        )
        got = attention_int16(q, k, v, scale=head_dim**-0.5, isa=isa)
        want = reference.attention(q, k, v, scale=head_dim**-0.5)
        check(got, want, of_inputs(q, k, v, head_dim**-0.5))
        # In practice the errors of many keys cancel: below bfloat16's step of the largest value.
        assert np.abs(got - want).max() < 2.0**-9 * np.abs(v).max()


def test_the_largest_sums_fit(isa):
    """All integers at their greatest, with the same sign: 2^31 is not reached."""
    for head_dim in (1, 2, 64, 100):
        q = np.full((15, 1, head_dim), 3.0, np.float32)
        k = np.full((33, 1, head_dim), -2.0, np.float32)
        v = np.full((33, 1, head_dim), 5.0, np.float32)
        got = attention_int16(q, k, v, scale=1e-3, isa=isa)
        np.testing.assert_allclose(got, 5.0, rtol=33 * STEP)
        k[7] = 2.0
        v[7] = -5.0
        got = attention_int16(q, k, v, scale=1.0, isa=isa)
        want = reference.attention(q, k, v, scale=1.0)
        np.testing.assert_allclose(got, want, atol=5 * 33 * STEP)


def test_weights_on_very_many_keys_do_not_overflow(isa):
    keys = 65_536
    q, k = np.zeros((2, 1, 2), np.float32), np.zeros((keys, 1, 2), np.float32)
    v = np.full((keys, 1, 2), 1.0, np.float32)
    k[5] = 1.0
    q[1] = 20.0
    got = attention_int16(q, k, v, scale=1.0, isa=isa)
    # A weight of 1 / 65,536 is half a step, which rounds to even: to nothing.
    np.testing.assert_allclose(got[1], 1.0, atol=1e-3)
    assert (np.abs(got) <= 2.0).all()


def test_every_instruction_set_gives_the_same_integers(floats):
    from tokenfuse_sdk import _native

    q, k, v = floats(29, 3, 40), floats(70, 3, 40), floats(70, 3, 40)
    results = [attention_int16(q, k, v, scale=0.2, isa=isa) for isa in _native.available_isas()]
    for other in results[1:]:
        # The softmax between the products rounds in float32: a step of a weight at most.
        np.testing.assert_allclose(other, results[0], atol=6 * STEP * np.abs(v).max())


def test_masked_keys_have_no_part_and_a_row_of_them_gives_zeros(isa, floats, check):
    q, k, v = floats(6, 2, 16), floats(40, 2, 16), floats(40, 2, 16)
    bias = np.where(floats(2, 6, 40) > 0, np.float32(0), np.float32(-np.inf))
    bias[1, 3] = -np.inf
    got = attention_int16(q, k, v, scale=0.25, bias=bias, isa=isa)
    assert not got[3, 1].any()
    want = reference.attention_int16(q, k, v, scale=0.25, bias=bias)
    check(got, want, of_rounded_inputs(q, k, v, 0.25, bias))


def test_one_great_score_picks_its_key(isa, floats):
    q = np.full((4, 1, 16), 1e4, np.float32)
    k = np.full((50, 1, 16), 1e4, np.float32)
    k[13] = 2e4
    v = floats(50, 1, 16)
    got = attention_int16(q, k, v, scale=1.0, isa=isa)
    np.testing.assert_allclose(got[1], v[13], atol=STEP * np.abs(v).max())


def test_nan_and_infinity_stay_where_they_are(isa, floats):
    for bad in (np.nan, np.inf, -np.inf):
        q, k, v = floats(15, 2, 8), floats(9, 2, 8), floats(9, 2, 8)
        q[2, 0, 3] = bad
        got = attention_int16(q, k, v, scale=1.0, isa=isa)
        assert np.isnan(got[2, 0]).all()
        got[2, 0] = 0
        assert np.isfinite(got).all()
        q[2, 0, 3] = 0
        v[5, 1, 7] = bad
        got = attention_int16(q, k, v, scale=1.0, isa=isa)
        assert np.isnan(got[:, 1, 7]).all()
        got[:, 1, 7] = 0
        assert np.isfinite(got).all()
        k[5, 0, 1] = bad
        assert np.isnan(attention_int16(q, k, v, scale=1.0, isa=isa)[:, 0]).all()
    bias = floats(1, 5, 9)
    bias[0, 3, 4] = np.nan
    got = attention_int16(
        q[:5, 1:], k[:, 1:], np.ones_like(v[:, 1:]), scale=1.0, bias=bias, isa=isa
    )
    assert np.isnan(got[3]).all()
    assert np.isfinite(np.delete(got, 3, axis=0)).all()


def test_threads_change_no_bit(isa, floats):
    q, k, v = floats(64, 4, 32), floats(64, 4, 32), floats(64, 4, 32)
    one = attention_int16(q, k, v, scale=0.2, isa=isa)
    got = attention_int16(q, k, v, scale=0.2, isa=isa, num_threads=3)
    np.testing.assert_array_equal(got, one)


def test_what_does_not_fit_is_refused(floats):
    q, k = floats(2, 3, 4), floats(5, 3, 4)
    with pytest.raises(OpError, match="K must be the same"):
        attention_int16(q, k, k[:4], scale=1.0)
    with pytest.raises(OpError, match="bias has shape"):
        attention_int16(q, k, k, scale=1.0, bias=floats(3, 5, 2))
    many = np.zeros((65_537, 1, 1), np.float32)
    with pytest.raises(OpError, match="do not fit 32 bits"):
        attention_int16(many[:1], many, many, scale=1.0)
