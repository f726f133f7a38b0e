"""A model folder: verified reading and atomic writing. Format: docs/bundle.md."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tokenfuse_sdk.bundle.manifest import FORMAT_VERSION
from tokenfuse_sdk.bundle.read import Bundle, read_bundle
from tokenfuse_sdk.bundle.safetensors_file import read_safetensors

if TYPE_CHECKING:
    from tokenfuse_sdk.bundle.write import check_output, write_bundle

__all__ = [
    "FORMAT_VERSION",
    "Bundle",
    "check_output",
    "read_bundle",
    "read_safetensors",
    "write_bundle",
]


def __getattr__(name: str) -> Any:
    # Whoever only reads, as a device does, needs nothing of it.
    if name not in ("check_output", "write_bundle"):
        raise AttributeError(f"module 'tokenfuse_sdk.bundle' has no attribute {name!r}")
    return getattr(importlib.import_module("tokenfuse_sdk.bundle.write"), name)
