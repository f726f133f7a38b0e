"""What goes wrong in an export."""

from __future__ import annotations

from tokenfuse_sdk.errors import TokenfuseError

__all__ = ["EngineBuildError", "ExportError", "TargetError"]


class ExportError(TokenfuseError, RuntimeError):
    """A package for exporting is missing, or the graphs do not compute what the model computes."""


class EngineBuildError(ExportError):
    """TensorRT is missing, too old, or refuses to build an engine; says why in its own words."""


class TargetError(TokenfuseError, ValueError):
    """A target is malformed, or none that the installed TensorRT can build for."""
