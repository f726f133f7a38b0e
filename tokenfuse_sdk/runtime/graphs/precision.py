"""In which precision a bundle's graphs run: the one asked for, or the most exact one there."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from tokenfuse_sdk.errors import BundleMissingFileError, PrecisionError
from tokenfuse_sdk.runtime.placement import Placement, graph_precisions

if TYPE_CHECKING:
    from tokenfuse_sdk.bundle import Bundle

__all__ = ["choose_graph_precision"]


def choose_graph_precision(placement: Placement, bundle: Bundle) -> Placement:
    """The placement with its precision chosen of those that the bundle has graphs of.

    Raises:
        BundleMissingFileError: the bundle has no graphs.
        PrecisionError: not the one asked for, or none for the device; says which it has.
    """
    there = bundle.onnx_precisions
    asked = placement.precision
    export = f"tokenfuse export -m {bundle.path} -o OUTPUT --precision {asked or 'fp32'}"
    if not there:
        raise BundleMissingFileError(
            f"{bundle.path} has no ONNX graphs; `{export}` writes a bundle that has, or use "
            "backend='native'"
        )
    if asked is not None:
        if asked not in there:
            raise PrecisionError(
                f"{bundle.path} has no ONNX graphs in {asked}; it has {', '.join(there)}. "
                f"`{export}` adds them"
            )
        return dataclasses.replace(placement, precision_reason="asked for")
    fitting = [name for name in graph_precisions(placement.device) if name in there]
    if not fitting:
        raise PrecisionError(
            f"{bundle.path} has ONNX graphs in {', '.join(there)} alone, which ONNX Runtime does "
            f"not run on {placement.device}; `{export}` adds others"
        )
    reason = f"auto: {fitting[0]} is the most exact that the bundle has graphs of"
    return dataclasses.replace(placement, precision=fitting[0], precision_reason=reason)
