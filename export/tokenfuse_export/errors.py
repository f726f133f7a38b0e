"""What goes wrong in an export."""

from __future__ import annotations

from tokenfuse_sdk.errors import TokenfuseError

__all__ = ["ExportError"]


class ExportError(TokenfuseError, RuntimeError):
    """A package for exporting is missing, or the graphs do not compute what the model computes."""
