"""The float32 PyTorch reference of a bundle."""

from __future__ import annotations

import os

from tokenfuse_sdk.bundle import Bundle, read_bundle
from tokenfuse_sdk.errors import BundleMissingFileError
from tokenfuse_sdk.shipped import find_bundle
from tokenfuse_training.model import JointModel, model_from_weights

__all__ = ["load_reference", "open_bundle", "reference_of"]


def open_bundle(bundle: str | os.PathLike[str]) -> Bundle:
    """A verified bundle by its path or a shipped model's name.

    Raises:
        BundleError: it is missing, damaged or hostile; its kinds say which.
    """
    folder = find_bundle(bundle)
    if not folder.exists():
        raise BundleMissingFileError(f"there is no bundle at {folder}; pass the path of one")
    return read_bundle(folder)


def reference_of(bundle: Bundle) -> JointModel:
    """The float32 reference of a bundle."""
    return model_from_weights(bundle.config, bundle.weights)


def load_reference(bundle: str | os.PathLike[str]) -> JointModel:
    """The float32 reference of a bundle by its path or a shipped model's name.

    Raises:
        BundleError: as `open_bundle`.
    """
    return reference_of(open_bundle(bundle))
