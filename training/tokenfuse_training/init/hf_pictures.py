"""How an image encoder of Hugging Face wants its pictures: preprocessor_config.json."""

from __future__ import annotations

import math
from typing import Any

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_training.init.hf_folder import HfFolder

__all__ = ["preprocess_of"]

_NAME = "preprocessor_config.json"
_HALF = (0.5, 0.5, 0.5)


def _is_number(value: object) -> bool:
    # An integer may be too large for a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6


def _three(folder: HfFolder, values: dict[str, Any], name: str) -> tuple[float, float, float]:
    value = values.get(name, list(_HALF))
    ok = isinstance(value, list) and len(value) == 3
    if not ok or not all(map(_is_number, value)):
        raise folder.error(f"has {name}={value!r} in {_NAME}: need three numbers")
    red, green, blue = map(float, value)
    return red, green, blue


def preprocess_of(folder: HfFolder, image_size: int) -> tuple[PreprocessConfig, tuple[str, ...]]:
    """The folder's mean and deviation, for pictures of `image_size`, and what differs.

    [D] `fit` is `stretch`, which is what ViT and SigLIP do; mean and deviation are 0.5 where the
    folder does not say.

    Raises:
        InitError: values that cannot be.
    """
    values = folder.json_file(_NAME)
    if values is None:
        values, notes = {}, [f"{folder.name} has no {_NAME}: mean and deviation are 0.5"]
    else:
        notes = _differences(folder, values)
    mean, std = (_three(folder, values, name) for name in ("image_mean", "image_std"))
    if values.get("do_normalize") is False:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    try:
        config = PreprocessConfig(
            image_size=image_size, fit="stretch", image_mean=mean, image_std=std
        )
    except ConfigError as error:
        raise folder.error(f"has values in {_NAME} that cannot be: {error}") from error
    return config, tuple(notes)


def _differences(folder: HfFolder, values: dict[str, Any]) -> list[str]:
    """What the folder asks for and the SDK does otherwise; refused where it is another model."""
    factor = values.get("rescale_factor", 1 / 255)
    scaled = _is_number(factor) and math.isclose(factor, 1 / 255, rel_tol=1e-6)
    if not scaled or values.get("do_rescale") is False:
        raise folder.error(
            f"does not scale pixels to 0..1 in {_NAME} (rescale_factor={factor!r}, "
            f"do_rescale={values.get('do_rescale', True)!r}); the model does: need 1/255"
        )
    notes = []
    if values.get("do_center_crop"):
        notes.append(
            f"{folder.name} crops the middle of its pictures; here they are fitted whole "
            "(preprocess.fit)"
        )
    if values.get("resample", 2) != 2:
        notes.append(f"{folder.name} resizes pictures by another filter; here it is bilinear")
    return notes
