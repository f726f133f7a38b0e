"""Decoded pictures to what the model sees: fitted, scaled, centred."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import picture

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_sdk.preprocess import PreprocessConfig, fit_image, preprocess


def test_a_square_of_the_right_size_is_only_scaled():
    array = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    config = PreprocessConfig(image_size=64)
    np.testing.assert_array_equal(fit_image(array, config), array)
    np.testing.assert_allclose(preprocess(array, config), array / 127.5 - 1.0, atol=1e-6)


def test_mean_and_deviation_per_channel():
    config = PreprocessConfig(
        image_size=2, image_mean=(0.485, 0.456, 0.406), image_std=(0.229, 0.224, 0.225)
    )
    array = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 20
    want = (array / 255 - np.array(config.image_mean)) / np.array(config.image_std)
    got = preprocess(array, config)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_padding_keeps_proportions_in_the_colour_of_the_border():
    array = np.full((10, 30, 3), 40, np.uint8)
    array[3:7, 10:20] = 200
    fitted = fit_image(array, PreprocessConfig(image_size=30))
    assert fitted.shape == (30, 30, 3)
    assert (fitted[:10] == 40).all()
    np.testing.assert_array_equal(fitted[10:20], array)
    stretched = fit_image(array, PreprocessConfig(image_size=30, fit="stretch"))
    assert stretched[15, 15, 0] == 200
    assert stretched[10, 15, 0] > 100


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (3, 64), (4097, 2)])
def test_extreme_proportions(shape):
    array = np.full((*shape, 3), 77, np.uint8)
    for fit in ("pad", "stretch"):
        fitted = fit_image(array, PreprocessConfig(image_size=16, fit=fit))
        assert fitted.shape == (16, 16, 3)
        assert (fitted == 77).all()


@pytest.mark.parametrize(
    "values",
    [
        {"image_size": 0},
        {"image_size": True},
        {"image_size": 8.0},
        {"image_size": 8, "fit": "x"},
        {"image_size": 8, "image_std": (0.0, 1.0, 1.0)},
        {"image_size": 8, "image_mean": (1.0,)},
        {"image_size": 8, "image_mean": (float("nan"), 0.0, 0.0)},
        {"image_size": 8, "image_mean": (0.5, -1001.0, 0.5)},
        {"image_size": 8, "image_mean": (1e300, 0.5, 0.5)},
        {"image_size": 8, "image_std": (0.5, 0.5, 1e-300)},
        {"image_size": 8, "image_std": (0.5, 0.5, 0.0009)},
        {"image_size": 8, "image_std": (1001.0, 0.5, 0.5)},
        {"image_size": 8, "image_std": (-0.5, 0.5, 0.5)},
    ],
)
def test_configs_that_make_no_sense(values):
    with pytest.raises(ConfigError):
        PreprocessConfig(**values)


@pytest.mark.parametrize("mean", [-1e3, 0.0, 1e3])
@pytest.mark.parametrize("std", [1e-3, 1e3])
def test_every_config_makes_finite_pixels(mean, std):
    config = PreprocessConfig(image_size=12, image_mean=(mean,) * 3, image_std=(std,) * 3)
    got = preprocess(picture(12, 12), config)
    # A product and a sum in float32, of terms of at most 1 / std and |mean| / std.
    bound = 4 * np.finfo(np.float32).eps * (1 + abs(mean)) / std
    assert np.abs(got - (picture(12, 12) / 255 - mean) / std).max() <= bound
