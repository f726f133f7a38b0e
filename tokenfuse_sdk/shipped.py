"""What comes with the package: trained models and example pictures."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

from tokenfuse_sdk.errors import ConfigError

__all__ = ["example_images", "example_questions", "find_bundle", "shipped_models"]

_HERE = pathlib.Path(__file__).parent
_MODELS = _HERE / "models"
_EXAMPLES = _HERE / "assets" / "examples"


def shipped_models() -> tuple[str, ...]:
    """Names that `load` takes without a path."""
    return tuple(sorted(path.parent.name for path in _MODELS.glob("*/manifest.json")))


def find_bundle(model: str | os.PathLike[str]) -> pathlib.Path:
    """The folder of a shipped model's name, and any other path as it is.

    Raises:
        ConfigError: the empty text, which `pathlib` would take for the folder one stands in; or
            no text and no path.
    """
    if not isinstance(model, str | os.PathLike) or not os.fspath(model):
        raise ConfigError(
            f"model={model!r}: need the name of a shipped model or the path of a bundle"
        )
    if isinstance(model, str) and model in shipped_models():
        return _MODELS / model
    return pathlib.Path(model)


def example_images() -> tuple[pathlib.Path, ...]:
    """Paths of the pictures that `tokenfuse demo` asks about."""
    return tuple(sorted(_EXAMPLES.glob("*.png")))


def example_questions() -> dict[str, list[dict[str, Any]]]:
    """Questions with their true answers, by the file name of `example_images`."""
    data = json.loads((_EXAMPLES / "questions.json").read_text(encoding="utf-8"))
    assert isinstance(data, dict)
    return data
