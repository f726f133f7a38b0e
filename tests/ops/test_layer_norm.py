from __future__ import annotations

import numpy as np
import pytest

from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.ops import layer_norm, reference

N = (1, 2, 7, 8, 9, 15, 16, 17, 33, 97, 768)


@pytest.mark.parametrize("n", N)
def test_agrees_with_the_reference(isa, floats, check, bounds, n):
    for m in (0, 1, 5):
        x, w, b = floats(m, n), floats(n), floats(n)
        check(layer_norm(x, w, b, isa=isa), reference.layer_norm(x, w, b), bounds.norm(x, w, b))


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e3, 1e12])
def test_magnitudes(isa, floats, check, bounds, scale):
    x, w, b = floats(4, 100, scale=scale), floats(100), floats(100)
    check(layer_norm(x, w, b, isa=isa), reference.layer_norm(x, w, b), bounds.norm(x, w, b))


def test_a_large_offset_is_centred_before_it_is_squared(isa, floats, check, bounds):
    x, w, b = floats(4, 100) + np.float32(1000), floats(100), floats(100)
    check(layer_norm(x, w, b, isa=isa), reference.layer_norm(x, w, b), bounds.norm(x, w, b))


def test_a_constant_row_gives_the_bias(isa, floats):
    w, b = floats(37), floats(37)
    np.testing.assert_array_equal(layer_norm(np.zeros((3, 37), np.float32), w, b, isa=isa)[1], b)


def test_strided_rows(isa, floats):
    wide, w, b = floats(6, 50), floats(37), floats(37)
    got = layer_norm(wide[::2, 5:42], w, b, isa=isa)
    np.testing.assert_array_equal(got, layer_norm(wide[::2, 5:42].copy(), w, b, isa=isa))


def test_nan_stays_in_its_row(isa, floats):
    x, w, b = floats(3, 20), floats(20), floats(20)
    x[1, 7] = np.nan
    y = layer_norm(x, w, b, isa=isa)
    assert np.isnan(y[1]).all()
    assert np.isfinite(y[[0, 2]]).all()


def test_what_does_not_fit_is_refused(floats):
    with pytest.raises(OpError, match="weight has 3"):
        layer_norm(floats(2, 4), floats(3), floats(4))
    with pytest.raises(OpError, match="x is float16"):
        layer_norm(floats(2, 4).astype(np.float16), floats(4), floats(4))
