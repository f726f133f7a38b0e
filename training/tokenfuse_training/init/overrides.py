"""Fields of a config that a file or a command line sets by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import ConfigError
from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_training.config.settings import nearest
from tokenfuse_training.config.train_config import ModelSettings

__all__ = ["SECTIONS", "check_fields", "preprocess_with", "with_settings"]

SECTIONS = ("vision", "text", "fusion", "decoder")


def check_fields(where: str, values: Mapping[str, Any], cls: type) -> None:
    """Raise ConfigError at a name that the dataclass does not have; it names the nearest one."""
    allowed = [field.name for field in dataclasses.fields(cls)]
    for name in values:
        if name not in allowed:
            raise ConfigError(
                f"{where}.{name}: no such key; {nearest(name, allowed)}allowed: "
                f"{', '.join(allowed)}"
            )


def with_settings(base: ModelConfig, name: str, settings: ModelSettings) -> ModelConfig:
    """The model `name`: `base`, with the fields that the settings set.

    Raises:
        ConfigError: a field that is not there, or a value that it cannot have.
    """
    data = base.to_dict() | {"name": name}
    for section in SECTIONS:
        values = dict(getattr(settings, section))
        check_fields(f"model.{section}", values, type(getattr(base, section)))
        data[section] = data[section] | values
    if "num_latents" in settings.fusion and "token_budgets" not in settings.fusion:
        # Those of the size that are left, and the new full one.
        latents = settings.fusion["num_latents"]
        kept = [n for n in base.fusion.token_budgets if isinstance(latents, int) and n < latents]
        data["fusion"]["token_budgets"] = [*kept, latents]
    return ModelConfig.from_dict(data)


def _numbers(value: Any) -> Any:
    """A list of numbers as the tuple of floats that `PreprocessConfig` takes."""
    if not isinstance(value, list | tuple):
        return value
    # One that is too large for a float stays, and is refused with its name.
    return tuple(float(v) if type(v) is int and abs(v) < 1e300 else v for v in value)


def preprocess_with(base: PreprocessConfig, values: Mapping[str, Any]) -> PreprocessConfig:
    """`base` with the fields that are set; pictures are as large as the model's.

    Raises:
        ConfigError: a field that is not there, or a value that it cannot have.
    """
    check_fields("preprocess", values, PreprocessConfig)
    size = values.get("image_size", base.image_size)
    if size != base.image_size:
        raise ConfigError(
            f"preprocess.image_size={size!r} is not the model's {base.image_size}; leave it out, "
            "and set model.vision.image_size"
        )
    return dataclasses.replace(base, **{name: _numbers(value) for name, value in values.items()})
