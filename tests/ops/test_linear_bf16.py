from __future__ import annotations

import numpy as np
import pytest
import torch

from tokenfuse_sdk import _native
from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.ops import linear, linear_bf16, reference
from tokenfuse_sdk.ops.reference.linear_bf16 import round_bf16

# 0 and 1; around 8 and 16 lanes, tiles of 4 to 9 rows, three tiles (12, 18 and 27 rows), behind
# which panels are widened; panels of 8 to 48 outputs; pairs and half pairs; primes.
M = (0, 1, 3, 5, 9, 10, 12, 13, 18, 19, 27, 28, 37)
N = (0, 1, 7, 8, 9, 15, 17, 31, 33, 47, 48, 49, 97)
K = (0, 1, 2, 3, 17, 64)


def rounds_x(isa: str) -> bool:
    return isa == "avx512_bf16"


def magnitude(isa, x, w, b=None, r=None):
    """Products of bfloat16 are exact in float32, so the bound is that of `linear`, on what was
    rounded."""
    size = np.abs(round_bf16(x) if rounds_x(isa) else x) @ np.abs(round_bf16(w)).T
    size = size + (0 if b is None else np.abs(b))
    return size + (0 if r is None else np.abs(r))


@pytest.mark.parametrize("k", K)
def test_agrees_with_the_reference_at_every_size(isa, floats, check, bounds, k):
    for m in M:
        for n in N:
            x, w, b, r = floats(m, k), floats(n, k), floats(n), floats(m, n)
            want = reference.linear_bf16(x, w, b, residual=r, round_x=rounds_x(isa))
            got = linear_bf16(x, w, b, residual=r, isa=isa)
            check(got, want, bounds.products(k, magnitude(isa, x, w, b, r)))


@pytest.mark.parametrize("m", [7, 40])
@pytest.mark.parametrize("activation", ["none", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("has_residual", [False, True])
def test_every_ending(isa, floats, check, bounds, m, activation, has_bias, has_residual):
    x, w = floats(m, 40), floats(50, 40, scale=0.3)
    b = floats(50) if has_bias else None
    r = floats(m, 50) if has_residual else None
    options = {"round_x": rounds_x(isa)}
    plain = reference.linear_bf16(x, w, b, **options)
    want = reference.linear_bf16(x, w, b, residual=r, activation=activation, **options)
    # gelu has a slope of at most 1.13.
    bound = 1.13 * bounds.products(40, magnitude(isa, x, w, b, r)) + bounds.gelu(plain)
    check(linear_bf16(x, w, b, residual=r, activation=activation, isa=isa), want, bound)


def test_strided_and_misaligned_rows(isa, floats, check, bounds):
    wide, w = floats(21, 70), floats(19, 33)
    x = wide[::2, 3:36]
    assert x.strides[0] == 2 * 70 * 4
    want = reference.linear_bf16(x, w, round_x=rounds_x(isa))
    check(linear_bf16(x, w, isa=isa), want, bounds.products(33, magnitude(isa, x, w)))


def test_weights_are_rounded_to_nearest_even(isa):
    """One input of 1: the results are the weights."""
    ties = [1.0 + 2.0**-8, 1.0 + 3 * 2.0**-8, -1.0 - 2.0**-8, 1.0 + 2.0**-8 + 2.0**-20]
    large = [3.3895314e38, 3.3961775e38, 3.4e38, -3.4e38]
    w = np.float32([*ties, *large, 0.0, -0.0, 1e-30])[:, None]
    one = np.ones((1, 1), np.float32)
    got = linear_bf16(one, w, isa=isa)[0]
    wants = [1.0, 1.0 + 2.0**-6, -1.0, 1.0 + 2.0**-7]
    np.testing.assert_array_equal(got[:4], np.float32(wants))
    np.testing.assert_array_equal(got, torch.from_numpy(w[:, 0]).bfloat16().float().numpy())
    np.testing.assert_array_equal(got, round_bf16(w[:, 0]).astype(np.float32))


def test_the_reference_rounds_as_torch_does():
    patterns = np.arange(0, 2**32, 65_521, dtype=np.uint64).astype(np.uint32)
    # Each upper half, with lower halves at and beside the tie.
    upper = np.arange(2**16, dtype=np.uint32) << 16
    patterns = np.concatenate([patterns, *(upper | low for low in (0, 0x7FFF, 0x8000, 0x8001))])
    values = patterns.view(np.float32)
    want = torch.from_numpy(values.copy()).bfloat16().float().numpy()
    np.testing.assert_array_equal(round_bf16(values).astype(np.float32), want)


@pytest.mark.parametrize("m", [1, 20, 196])
def test_is_as_near_as_bf16_of_torch(isa, floats, m):
    """Against the unrounded product in float64. torch rounds x and y as well."""
    x, w, b = floats(m, 384), floats(192, 384, scale=0.05), floats(192)
    want = reference.linear(x, w, b)
    got = linear_bf16(x, w, b, isa=isa)
    tensors = [torch.from_numpy(a).bfloat16() for a in (x, w, b)]
    theirs = torch.nn.functional.linear(*tensors).float().numpy()
    for norm in (np.linalg.norm, lambda error: np.abs(error).max()):
        assert norm(got - want) <= 2 * norm(theirs - want)
    # And it is no more exact than bfloat16 can be: the weights were rounded.
    assert np.linalg.norm(got - want) > 10 * np.linalg.norm(linear(x, w, b, isa=isa) - want)


def test_only_the_dot_instruction_rounds_x(floats):
    """A forced instruction set is the one that runs."""
    x, w = floats(30, 64), round_bf16(floats(50, 64)).astype(np.float32)
    exact = reference.linear(x, w)
    for isa in _native.available_isas():
        error = np.abs(linear_bf16(x, w, isa=isa) - exact).max()
        assert (error > 1e-3) == rounds_x(isa)


# 1, 10 and 37 leave a lone row behind the tiles of some variant; 196 widens panels.
@pytest.mark.parametrize("m", [1, 10, 37, 196])
def test_threads_change_no_bit(isa, floats, m):
    x, w, b = floats(m, 257), floats(300, 257), floats(300)
    one = linear_bf16(x, w, b, isa=isa)
    for num_threads in (2, 3, 8):
        got = linear_bf16(x, w, b, isa=isa, num_threads=num_threads)
        np.testing.assert_array_equal(got, one)


@pytest.mark.parametrize("m", [9, 40])
def test_nan_and_infinity_go_where_they_belong(isa, floats, m):
    x, w = floats(m, 20), floats(33, 20)
    x[4, 3], x[6, 5] = np.nan, np.inf
    y = linear_bf16(x, w, isa=isa)
    assert np.isnan(y[4]).all()
    assert np.isinf(y[6]).all()
    assert np.isfinite(np.delete(y, [4, 6], axis=0)).all()
    # A NaN whose fraction would round up to infinity, and one of the other sign.
    for pattern in (0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF):
        w[7, 19] = np.uint32([pattern]).view(np.float32)[0]
        y = linear_bf16(x[:3], w, isa=isa)
        assert np.isnan(y[:, 7]).all()
        assert np.isfinite(np.delete(y, 7, axis=1)).all()


def test_what_does_not_fit_is_refused(floats):
    x, w = floats(3, 4), floats(5, 4)
    with pytest.raises(OpError, match="K must be the same: x has 3, weight has 4"):
        linear_bf16(x[:, :3], w)
    with pytest.raises(OpError, match="weight is float16"):
        linear_bf16(x, w.astype(np.float16))
    with pytest.raises(OpError, match="bias has 4"):
        linear_bf16(x, w, floats(4))
    with pytest.raises(OpError, match="residual"):
        linear_bf16(x, w, residual=floats(5, 3))
    with pytest.raises(OpError, match="activation='relu'"):
        linear_bf16(x, w, activation="relu")
    with pytest.raises(OpError, match="num_threads"):
        linear_bf16(x, w, num_threads=0)
