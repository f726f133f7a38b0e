from __future__ import annotations

import numpy as np
import pytest
import torch

from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.ops import conv2d, reference

# (height, width, channels in, channels out, kernel, stride, padding)
SHAPES = [
    (8, 8, 3, 32, 3, 2, 1),
    (7, 9, 3, 5, 3, 2, 1),
    (16, 16, 3, 20, 4, 4, 0),
    (6, 5, 7, 17, 2, 2, 0),
    (5, 5, 2, 3, 5, 1, 2),
    (3, 4, 1, 1, 1, 1, 0),
    (1, 1, 4, 9, 3, 1, 1),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_the_reference(isa, floats, check, bounds, shape):
    height, width, channels, outputs, kernel, stride, padding = shape
    x, w, b = (
        floats(height, width, channels),
        floats(outputs, channels, kernel, kernel),
        floats(outputs),
    )
    options = {"stride": stride, "padding": padding}
    want = reference.conv2d(x, w, b, **options)
    magnitude = reference.conv2d(np.abs(x), np.abs(w), np.abs(b), **options)
    terms = channels * kernel**2
    check(conv2d(x, w, b, **options, isa=isa), want, bounds.products(terms, magnitude))
    activated = reference.conv2d(x, w, b, **options, activation="gelu")
    bound = 1.13 * bounds.products(terms, magnitude) + bounds.gelu(want)
    check(conv2d(x, w, b, **options, activation="gelu", isa=isa), activated, bound)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_reference_is_that_of_torch(floats, shape):
    height, width, channels, outputs, kernel, stride, padding = shape
    x, w = floats(height, width, channels), floats(outputs, channels, kernel, kernel)
    want = torch.nn.functional.conv2d(
        torch.from_numpy(x).double().permute(2, 0, 1)[None],
        torch.from_numpy(w).double(),
        stride=stride,
        padding=padding,
    )[0].permute(1, 2, 0)
    got = reference.conv2d(x, w, stride=stride, padding=padding)
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-12, atol=1e-12)


def test_threads_change_no_bit(isa, floats):
    x, w = floats(33, 31, 8), floats(40, 8, 3, 3)
    one = conv2d(x, w, padding=1, isa=isa)
    np.testing.assert_array_equal(conv2d(x, w, padding=1, isa=isa, num_threads=4), one)


def test_what_does_not_fit_is_refused(floats):
    x, w = floats(8, 8, 3), floats(4, 3, 3, 3)
    with pytest.raises(OpError, match="C must be the same"):
        conv2d(x[..., :2], w)
    with pytest.raises(OpError, match="stride=0"):
        conv2d(x, w, stride=0)
    with pytest.raises(OpError, match="k must be the same"):
        conv2d(x, w[:, :, :2])
    with pytest.raises(OpError, match="need 3 pixels"):
        conv2d(x[:2], w)
    with pytest.raises(OpError, match="need \\(H, W, C\\)"):
        conv2d(x[None], w)
