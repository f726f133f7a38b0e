"""The ops on rows, from NumPy arrays, against float64 of the rounded inputs."""

from __future__ import annotations

import numpy as np
import pytest
from half_bounds import EPS, HALF, SMALLEST, sum_bound

from tokenfuse_sdk.ops import cuda, reference

pytestmark = pytest.mark.usefixtures("cuda_module")


@pytest.fixture
def sizes(is_emulated):
    """Around 8 numbers of a vector, 16 rows and 32 columns of a tile; primes; the model's."""
    if is_emulated:
        return (0, 1, 15, 16, 17, 65), (1, 7, 8, 9, 33), (1, 7, 8, 9, 64, 131)
    return (0, 1, 15, 16, 17, 63, 65, 196), (1, 7, 8, 9, 31, 33, 97, 384), (1, 7, 8, 9, 192, 769)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_linear_at_every_size(sizes, floats, rounded, check, precision):
    for m in sizes[0]:
        for n in sizes[1]:
            for k in sizes[2]:
                x, w, b, r = floats(m, k), floats(n, k), floats(n), floats(m, n)
                y = cuda.linear(x, w, b, residual=r, precision=precision)
                x, w = rounded(x, precision), rounded(w, precision)
                magnitude = np.abs(x) @ np.abs(w).T + np.abs(b) + np.abs(r)
                check(y, reference.linear(x, w, b, residual=r), sum_bound(k, magnitude))


@pytest.mark.parametrize("activation", ["none", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("gated", [False, True])
def test_every_ending_of_linear(floats, rounded, check, activation, gated):
    x, w, b = floats(19, 40), floats(26, 40, scale=0.3), floats(26)
    r, z = (floats(19, 13 if gated else 26) for _ in range(2))
    y = cuda.linear(
        x,
        w,
        None if gated else b,
        residual=r,
        activation=activation,
        gated=gated,
        original=z,
        scale=0.75,
        original_scale=-0.5,
    )
    x, w = rounded(x, "fp16"), rounded(w, "fp16")
    if gated:
        gate = reference.linear(x, w[0::2], activation=activation)
        up = reference.linear(x, w[1::2])
        want = gate * up
        parts = [np.abs(x) @ np.abs(one).T for one in (w[0::2], w[1::2])]
        magnitude = parts[0] * (np.abs(up) + 1) + parts[1] * (np.abs(gate) + 1)
    else:
        want = reference.linear(x, w, b, activation=activation)
        magnitude = np.abs(x) @ np.abs(w).T + np.abs(b)
    want = 0.75 * (want + r) - 0.5 * z
    # gelu has a slope of at most 1.13, and erf and tanh of the device some 4 eps.
    bound = 1.13 * sum_bound(40, magnitude + np.abs(r) + np.abs(z)) + 1e-6 * (1 + magnitude)
    check(y, want, bound)


@pytest.mark.parametrize("norm", ["layer", "rms"])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_linear_of_a_norm(floats, rounded, check, norm, precision):
    x, w, gain, shift = floats(17, 72), floats(24, 72), floats(72), floats(72)
    if norm == "rms":
        y = cuda.linear(x, w, norm="rms", norm_weight=gain, precision=precision)
        normed = reference.rms_norm(x, gain)
    else:
        y = cuda.linear(x, w, norm="layer", norm_weight=gain, norm_bias=shift, precision=precision)
        normed = reference.layer_norm(x, gain, shift)
    w = rounded(w, precision)
    # The norm is rounded to 16 bits, from float32, which may be the other neighbour: one place.
    lost = (2 * HALF[precision] + 80 * EPS) * np.abs(normed) + 80 * EPS * np.abs(gain) + SMALLEST
    check(y, normed @ w.T, lost @ np.abs(w).T + sum_bound(72, np.abs(normed) @ np.abs(w).T))


def test_nan_and_infinity_go_where_they_belong(floats):
    x, w = floats(9, 20), floats(33, 20)
    x[4, 3], x[6, 5] = np.nan, np.inf
    # bfloat16 has infinity; float16 takes it for its largest number.
    y = cuda.linear(x, w, precision="bf16")
    assert np.isnan(y[4]).all()
    assert np.isinf(y[6]).all()
    assert np.isfinite(np.delete(y, [4, 6], axis=0)).all()


def test_large_numbers_become_the_largest_of_float16(floats):
    x, w = np.full((1, 8), 1e6, np.float32), np.eye(8, dtype=np.float32)
    np.testing.assert_array_equal(cuda.linear(x, w), np.full((1, 8), 65504, np.float32))


def test_norms_at_every_size(sizes, floats, check):
    for m in sizes[0]:
        for n in (*sizes[2], 127, 128, 129):
            x, w, b = floats(m, n) + np.float32(3), floats(n), floats(n)
            d = np.sqrt(x.astype(np.float64).var(axis=1, keepdims=True) + 1e-6)
            centred = np.abs(x - x.mean(axis=1, keepdims=True)) if m else x
            lost = (n + 4) * EPS * np.abs(x).mean(axis=1, keepdims=True) / d if m else x
            bound = (lost + (n + 8) * EPS * centred / d) * np.abs(w) + 2 * EPS * np.abs(b) + 1e-30
            check(cuda.layer_norm(x, w, b), reference.layer_norm(x, w, b), bound)
            want = reference.rms_norm(x, w)
            check(cuda.rms_norm(x, w), want, (n / 2 + 4) * EPS * np.abs(want) + 1e-30)


def test_log_sum_exp_at_every_size(is_emulated, floats, check):
    for m in (0, 1, 3):
        for n in (1, 3, 4, 5, 127, 128, 129, 1031) + (() if is_emulated else (32128,)):
            x = floats(m, n, scale=4.0)
            given = (np.arange(m, dtype=np.int32) * 7) % n
            y, top = reference.log_sum_exp(x)
            spread = x.max(axis=1) - x.min(axis=1) if m else x[:, 0]
            bound = (n + 8 + spread) * EPS + 2 * EPS * np.abs(y)
            log_prob, at = cuda.log_sum_exp(x)
            np.testing.assert_array_equal(at, top)
            check(log_prob, np.take_along_axis(x, top[:, None], 1)[:, 0] - y, bound)
            log_prob, at = cuda.log_sum_exp(x, given=given)
            np.testing.assert_array_equal(at, top)
            want = np.take_along_axis(x.astype(np.float64), given[:, None].astype(int), 1)[:, 0] - y
            check(log_prob, want, bound + 2 * EPS * np.abs(want))


def test_the_first_of_equals_is_the_largest(floats):
    x = np.zeros((2, 300), np.float32)
    x[0, [7, 250]] = 5.0
    _, top = cuda.log_sum_exp(x)
    np.testing.assert_array_equal(top, [7, 0])


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(1, 1, 0), (3, 2, 1), (4, 4, 0)])
def test_a_linear_of_patches_is_a_convolution(
    floats, rounded, check, precision, kernel, stride, padding
):
    for channels in (1, 3, 8):
        x, w = floats(2, 9, 12, channels), floats(5, channels, kernel, kernel)
        p = cuda.patches(x, kernel=kernel, conv_stride=stride, padding=padding, precision=precision)
        y = cuda.linear(p, w.transpose(0, 2, 3, 1).reshape(5, -1), precision=precision)
        x, w = rounded(x, precision), rounded(w, precision)
        options = {"stride": stride, "padding": padding}
        want = np.stack([reference.conv2d(one, w, **options) for one in x])
        magnitude = np.stack([reference.conv2d(abs(one), abs(w), **options) for one in x])
        check(y.reshape(want.shape), want, sum_bound(p.shape[1], magnitude))
