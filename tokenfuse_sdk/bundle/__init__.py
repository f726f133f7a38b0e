"""A model folder: verified reading and atomic writing. Format: docs/bundle.md."""

from tokenfuse_sdk.bundle.manifest import FORMAT_VERSION
from tokenfuse_sdk.bundle.read import Bundle, read_bundle
from tokenfuse_sdk.bundle.safetensors_file import read_safetensors
from tokenfuse_sdk.bundle.write import check_output, write_bundle

__all__ = [
    "FORMAT_VERSION",
    "Bundle",
    "check_output",
    "read_bundle",
    "read_safetensors",
    "write_bundle",
]
