"""What can be exported, and to which bundle: asked before long work, without PyTorch."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from tokenfuse_sdk.bundle import Bundle
from tokenfuse_sdk.bundle.manifest import Manifest
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import UnsupportedModelError

__all__ = ["added_to", "check_kept_graphs", "check_model"]


def check_model(config: ModelConfig) -> None:
    """Raise UnsupportedModelError for a model that has no graphs."""
    if config.fusion.kind != "joint_adaptive":
        raise UnsupportedModelError(
            f"fusion.kind={config.fusion.kind!r} has no ONNX graphs, and so no engines; take a "
            "model of kind 'joint_adaptive'"
        )


def check_kept_graphs(bundle: Bundle, replaced: Sequence[str] = ()) -> None:
    """Check the graphs that a new bundle takes over from an old one.

    Args:
        bundle: the old one.
        replaced: precisions whose graphs are made anew, or opened soon.

    Raises:
        BundleError: one is damaged, hostile or another model's.
    """
    for precision in bundle.onnx_precisions:
        if precision not in replaced:
            bundle.open_group(f"onnx/{precision}")


def added_to(bundle: Bundle, target: pathlib.Path) -> Manifest | None:
    """What is added to, where a bundle is its own target: `based_on` of `add_groups`."""
    is_same = target.exists() and target.samefile(bundle.path)
    return bundle.manifest if is_same else None
