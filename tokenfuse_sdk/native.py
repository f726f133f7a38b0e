"""The compiled module `tokenfuse_sdk._native`, loaded where it is first used."""

from __future__ import annotations

import importlib
from types import ModuleType

from tokenfuse_sdk.errors import DeviceError

__all__ = ["load_native"]


def load_native() -> ModuleType:
    """The compiled module.

    Raises:
        DeviceError: it is not there or does not load; says why and what to do.
    """
    try:
        return importlib.import_module("tokenfuse_sdk._native")
    except ImportError as error:
        raise DeviceError(
            f"the compiled module tokenfuse_sdk._native does not load ({error}). In the source "
            "folder, run `pip install .`; then start Python in another folder, since here it "
            "takes the sources, which are not compiled"
        ) from error
