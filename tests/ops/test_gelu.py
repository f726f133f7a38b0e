from __future__ import annotations

import numpy as np
import pytest
import torch

from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.ops import gelu, reference


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_agrees_with_the_reference_over_the_whole_line(isa, check, bounds, approximate):
    small = np.linspace(-12, 12, 40_001, dtype=np.float32)
    large = np.float32([-3e38, -1e10, -100, -1e-10, -0.0, 0.0, 1e-38, 1e-10, 100, 1e10, 3e38])
    x = np.concatenate([small, large])[None]
    # The reference's x^3 overflows only where tanh is 1 already.
    with np.errstate(over="ignore"):
        want = reference.gelu(x, approximate=approximate)
    check(gelu(x, approximate=approximate, isa=isa), want, bounds.gelu(x))


def test_the_reference_is_that_of_torch(floats):
    x = floats(1, 1000, scale=3.0)
    for approximate in ("none", "tanh"):
        want = torch.nn.functional.gelu(torch.from_numpy(x).double(), approximate=approximate)
        np.testing.assert_allclose(
            reference.gelu(x, approximate=approximate), want.numpy(), rtol=1e-14, atol=1e-15
        )


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 15, 16, 17, 33, 97])
def test_every_size_gated_and_strided(isa, floats, check, bounds, n):
    wide, other = floats(6, n + 3), floats(5, n + 9)
    x, z = wide[::2, 2 : 2 + n], other[:3, 5 : 5 + n]
    want = reference.gelu(x, z, approximate="tanh")
    bound = bounds.gelu(x) * np.maximum(1.0, np.abs(z)) + 1e-7 * np.abs(want)
    check(gelu(x, z, approximate="tanh", isa=isa), want, bound)


def test_nan_and_infinity(isa):
    x = np.float32([[np.nan, np.inf, -np.inf, 1.0]])
    for approximate in ("none", "tanh"):
        y = gelu(x, approximate=approximate, isa=isa)[0]
        assert np.isnan(y[0])
        assert y[1] == np.inf
        assert np.isfinite(y[3])


def test_what_does_not_fit_is_refused(floats):
    with pytest.raises(OpError, match="gated has shape"):
        gelu(floats(2, 3), floats(3, 2))
    with pytest.raises(OpError, match="approximate='erf'"):
        gelu(floats(2, 3), approximate="erf")
