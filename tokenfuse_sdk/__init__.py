"""Answers about images on a device: load a model, encode a picture once, ask it many times.

    import tokenfuse_sdk as tf

    with tf.load("scenes-nano") as model:
        answer = model.answer("picture.png", "how many red circles are there?")
        print(answer.text, answer.confidence)

Every error raised on a caller's mistake derives from `TokenfuseError`; the types
are in `tokenfuse_sdk.errors`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenfuse_sdk.errors import TokenfuseError
    from tokenfuse_sdk.image_tokens import ImageTokens
    from tokenfuse_sdk.model import Model, load
    from tokenfuse_sdk.results import Answer, ModelInfo, Score, Timings, TokenMap
    from tokenfuse_sdk.shipped import example_images, shipped_models

__all__ = [
    "Answer",
    "ImageTokens",
    "Model",
    "ModelInfo",
    "Score",
    "Timings",
    "TokenMap",
    "TokenfuseError",
    "__version__",
    "example_images",
    "load",
    "shipped_models",
]

__version__ = "0.1.0"

# Where each public name lives; read on first use, so that the import stays cheap.
_HOMES = {
    "Answer": "results",
    "ImageTokens": "image_tokens",
    "Model": "model",
    "ModelInfo": "results",
    "Score": "results",
    "Timings": "results",
    "TokenMap": "results",
    "TokenfuseError": "errors",
    "example_images": "shipped",
    "load": "model",
    "shipped_models": "shipped",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tokenfuse_sdk' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tokenfuse_sdk.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
