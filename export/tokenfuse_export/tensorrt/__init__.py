"""TensorRT engines from a bundle: `build_engines`."""

from __future__ import annotations

from tokenfuse_export.tensorrt.build import build_engines

__all__ = ["build_engines"]
