"""RGB pixels to the model's array: pad to a square, resize, normalise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_sdk.integers import checked_int

__all__ = ["PreprocessConfig", "fit_image", "preprocess"]

_FITS = ("pad", "stretch")
# Pixels lie in 0..1, so every use is far inside; beyond, float32 has no digits left, then NaN.
_MAX_MEAN = 1e3
_MIN_STD, _MAX_STD = 1e-3, 1e3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessConfig:
    """How a picture becomes the model's array.

    Args:
        image_size: pixels along a side.
        fit: `pad` keeps proportions and fills up to a square with the mean colour of
            the border; `stretch` does not keep them.
        image_mean, image_std: per channel, of pixels scaled to 0..1; means of at most
            1000 in magnitude, deviations from 0.001 to 1000.
    """

    image_size: int
    fit: str = "pad"
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        own = "preprocess"
        size = checked_int(f"{own}.image_size", self.image_size, 1, 4096)
        object.__setattr__(self, "image_size", size)
        if self.fit not in _FITS:
            raise ConfigError(f"{own}.fit={self.fit!r}: choose one of {', '.join(_FITS)}")
        for name, values in (("image_mean", self.image_mean), ("image_std", self.image_std)):
            ok = isinstance(values, tuple) and len(values) == 3
            if not ok or not all(isinstance(v, float) and math.isfinite(v) for v in values):
                raise ConfigError(f"{own}.{name}={values!r}: need three finite floats")
        if max(map(abs, self.image_mean)) > _MAX_MEAN:
            raise ConfigError(
                f"{own}.image_mean={self.image_mean!r}: need values from -{_MAX_MEAN:g} to "
                f"{_MAX_MEAN:g}"
            )
        if not all(_MIN_STD <= v <= _MAX_STD for v in self.image_std):
            raise ConfigError(
                f"{own}.image_std={self.image_std!r}: need values from {_MIN_STD:g} to {_MAX_STD:g}"
            )

    def to_dict(self) -> dict[str, Any]:
        """`preprocessor_config.json`, with the names of the Hugging Face ecosystem."""
        return {
            "size": {"height": self.image_size, "width": self.image_size},
            "fit": self.fit,
            "resample": int(Image.Resampling.BILINEAR),
            "rescale_factor": 1.0 / 255.0,
            "image_mean": list(self.image_mean),
            "image_std": list(self.image_std),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PreprocessConfig:
        """Read `to_dict()` back; what this SDK does not do is refused, not ignored.

        Raises:
            ConfigError: a missing, unknown or unsupported key or value.
        """
        name = "preprocessor_config.json"
        keys = {"size", "fit", "resample", "rescale_factor", "image_mean", "image_std"}
        if set(data) != keys:
            odd = ", ".join(sorted(set(data) ^ keys))
            raise ConfigError(f"{name} needs exactly {', '.join(sorted(keys))}; differs in {odd}")
        size = data["size"]
        if not isinstance(size, dict) or set(size) != {"height", "width"}:
            raise ConfigError(f"{name}: size={size!r}: need height and width")
        if size["height"] != size["width"]:
            raise ConfigError(f"{name}: size={size!r}: need a square")
        if data["resample"] != int(Image.Resampling.BILINEAR):
            raise ConfigError(f"{name}: resample={data['resample']!r}: only 2, bilinear, is done")
        if data["rescale_factor"] != 1.0 / 255.0:
            raise ConfigError(f"{name}: rescale_factor={data['rescale_factor']!r}: need 1/255")
        mean, std = data["image_mean"], data["image_std"]
        if not isinstance(mean, list) or not isinstance(std, list):
            raise ConfigError(f"{name}: image_mean and image_std must be lists")
        return cls(
            image_size=size["height"],
            fit=data["fit"],
            image_mean=tuple(mean),
            image_std=tuple(std),
        )


def _pad_to_square(image_HW3: np.ndarray) -> np.ndarray:
    height, width = image_HW3.shape[:2]
    if height == width:
        return image_HW3
    border = np.concatenate([image_HW3[0], image_HW3[-1], image_HW3[1:-1, 0], image_HW3[1:-1, -1]])
    side = max(height, width)
    square = np.empty((side, side, 3), dtype=np.uint8)
    square[:] = np.floor(border.mean(axis=0, dtype=np.float64) + 0.5).astype(np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = image_HW3
    return square


def fit_image(image_HW3: np.ndarray, config: PreprocessConfig) -> np.ndarray:
    """Pad or stretch and resize: uint8 (H, W, 3) to uint8 (size, size, 3)."""
    size = config.image_size
    height, width = image_HW3.shape[:2]
    # A strip of one pixel by a million would pad to a square of a million: shrink first.
    if config.fit == "pad" and max(height, width) > 4096:
        scale = 4096 / max(height, width)
        smaller = (max(1, round(width * scale)), max(1, round(height * scale)))
        resized = Image.fromarray(image_HW3).resize(smaller, Image.Resampling.BILINEAR)
        image_HW3 = np.asarray(resized)
    square = _pad_to_square(image_HW3) if config.fit == "pad" else image_HW3
    if square.shape[:2] == (size, size):
        return square
    resized = Image.fromarray(square).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def preprocess(image_HW3: np.ndarray, config: PreprocessConfig) -> np.ndarray:
    """`(x / 255 - mean) / std` of the fitted picture.

    Args:
        image_HW3: uint8 (H, W, 3), as `decode_image` returns.
        config: the bundle's.

    Returns:
        float32 (size, size, 3), C-contiguous.
    """
    pixels = fit_image(image_HW3, config).astype(np.float32)
    scale = np.asarray([1.0 / (255.0 * s) for s in config.image_std], dtype=np.float32)
    shift = np.asarray(
        [-m / s for m, s in zip(config.image_mean, config.image_std, strict=True)],
        dtype=np.float32,
    )
    return pixels * scale + shift
