from __future__ import annotations

import numpy as np
import pytest

from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.ops import gated_add, reference


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 15, 16, 17, 31, 33, 97, 10_007])
def test_agrees_with_the_reference(isa, floats, check, bounds, n):
    x, z = floats(n), floats(n)
    for a, b in ((1.0, 1.0), (0.7615942, -1.25), (0.0, 1.0), (1e20, 1e-20)):
        a, b = float(np.float32(a)), float(np.float32(b))
        magnitude = abs(a) * np.abs(x) + abs(b) * np.abs(z)
        check(
            gated_add(a, x, b, z, isa=isa),
            reference.gated_add(a, x, b, z),
            bounds.products(2, magnitude),
        )


def test_nan_stays_where_it_is(isa, floats):
    x, z = floats(40), floats(40)
    x[17] = np.nan
    y = gated_add(0.5, x, 2.0, z, isa=isa)
    assert np.isnan(y[17])
    assert np.isfinite(np.delete(y, 17)).all()


def test_what_does_not_fit_is_refused(floats):
    with pytest.raises(OpError, match="n must be the same"):
        gated_add(1.0, floats(3), 1.0, floats(4))
    with pytest.raises(OpError, match="shape"):
        gated_add(1.0, floats(3, 3), 1.0, floats(3, 3))
