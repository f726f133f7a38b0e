"""Which models can be exported."""

from __future__ import annotations

from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import UnsupportedModelError

__all__ = ["check_model"]


def check_model(config: ModelConfig) -> None:
    """Raise UnsupportedModelError for a model that has no graphs."""
    if config.fusion.kind != "joint_adaptive":
        raise UnsupportedModelError(
            f"fusion.kind={config.fusion.kind!r} has no ONNX graphs, and so no engines; take a "
            "model of kind 'joint_adaptive'"
        )
