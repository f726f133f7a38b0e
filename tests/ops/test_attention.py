from __future__ import annotations

import numpy as np
import pytest
import torch

from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.ops import attention, reference

EPS = np.finfo(np.float32).eps


def bound_of(bounds, q, k, v, scale: float, bias=None) -> float:
    head_dim, keys = q.shape[2], k.shape[0]
    magnitude = abs(scale) * np.einsum("qhd,khd->hqk", np.abs(q), np.abs(k))
    if bias is not None:
        magnitude = magnitude + np.where(np.isinf(bias), 0.0, np.abs(bias))
    score_error = (head_dim + 3) * EPS * magnitude.max(initial=0.0)
    return bounds.softmax_sum(score_error, keys, np.abs(v).max(initial=0.0))


@pytest.mark.parametrize("head_dim", [1, 7, 8, 16, 17, 32, 64])
def test_agrees_with_the_reference_at_every_size(isa, floats, check, bounds, head_dim):
    scale = head_dim**-0.5
    for queries in (0, 1, 3, 4, 5, 17):
        for keys in (0, 1, 7, 16, 31, 32, 33, 97):
            q, k, v = (floats(n, 3, head_dim) for n in (queries, keys, keys))
            bias = floats(3, queries, keys)
            got = attention(q, k, v, scale=scale, bias=bias, isa=isa)
            want = reference.attention(q, k, v, scale=scale, bias=bias)
            check(got, want, bound_of(bounds, q, k, v, scale, bias))


def test_the_reference_is_that_of_torch(floats):
    q, k, v = floats(5, 2, 8), floats(9, 2, 8), floats(9, 2, 8)
    bias = floats(2, 5, 9)
    parts = [torch.from_numpy(a).double().transpose(0, 1) for a in (q, k, v)]
    want = torch.nn.functional.scaled_dot_product_attention(
        *parts, attn_mask=torch.from_numpy(bias).double(), scale=0.3
    ).transpose(0, 1)
    got = reference.attention(q, k, v, scale=0.3, bias=bias)
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-12, atol=1e-14)


def test_masked_keys_have_no_part_and_a_row_of_them_gives_zeros(isa, floats, check, bounds):
    q, k, v = floats(6, 2, 16), floats(40, 2, 16), floats(40, 2, 16)
    bias = np.where(floats(2, 6, 40) > 0, np.float32(0), np.float32(-np.inf))
    bias[1, 3] = -np.inf
    got = attention(q, k, v, scale=0.25, bias=bias, isa=isa)
    assert not got[3, 1].any()
    want = reference.attention(q, k, v, scale=0.25, bias=bias)
    check(got, want, bound_of(bounds, q, k, v, 0.25, bias))
    # What lies behind a mask does not matter at all.
    v[np.isneginf(bias[0, 0]), 0] = 1e30
    again = attention(q, k, v, scale=0.25, bias=bias, isa=isa)
    np.testing.assert_array_equal(again[0, 0], got[0, 0])


def test_ties_and_extreme_scores(isa, floats):
    q = np.full((4, 1, 16), 1e4, np.float32)
    k = np.full((50, 1, 16), 1e4, np.float32)
    v = floats(50, 1, 16)
    got = attention(q, k, v, scale=1.0, isa=isa)
    np.testing.assert_allclose(got[2, 0], v.mean(axis=0)[0], atol=1e-6)
    k[13] = 2e4
    np.testing.assert_array_equal(attention(q, k, v, scale=1.0, isa=isa)[1], v[13])


def test_nan_stays_in_its_query(isa, floats):
    q, k, v = floats(5, 1, 8), floats(9, 1, 8), floats(9, 1, 8)
    q[2, 0, 3] = np.nan
    got = attention(q, k, v, scale=1.0, isa=isa)
    assert np.isnan(got[2]).all()
    assert np.isfinite(np.delete(got, 2, axis=0)).all()
    k[5, 0, 1] = np.nan
    assert np.isnan(attention(q, k, v, scale=1.0, isa=isa)).all()


def test_threads_change_no_bit(isa, floats):
    q, k, v = floats(64, 4, 32), floats(64, 4, 32), floats(64, 4, 32)
    one = attention(q, k, v, scale=0.2, isa=isa)
    np.testing.assert_array_equal(attention(q, k, v, scale=0.2, isa=isa, num_threads=3), one)


def test_what_does_not_fit_is_refused(floats):
    q, k = floats(2, 3, 4), floats(5, 3, 4)
    with pytest.raises(OpError, match="K must be the same"):
        attention(q, k, k[:4], scale=1.0)
    with pytest.raises(OpError, match="H must be the same"):
        attention(q[:, :2], k, k, scale=1.0)
    with pytest.raises(OpError, match="bias has shape"):
        attention(q, k, k, scale=1.0, bias=floats(3, 5, 2))
    with pytest.raises(OpError, match="need \\(Q, H, h\\)"):
        attention(q[0], k, k, scale=1.0)
