"""The CUDA engine: which precisions it has, and why it may not be there.

This version has no CUDA engine yet. The file keeps the reasons in one place, so
that a call with `device="cuda"` and `tokenfuse doctor` say the same.
"""

from __future__ import annotations

import ctypes
import importlib.util

__all__ = ["PRECISIONS", "driver_state", "unavailable_reason"]

PRECISIONS: tuple[str, ...] = ()


def driver_state() -> str:
    """Whether an NVIDIA driver is on this machine, in words."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver was found on this machine (libcuda.so.1 does not load)"
    return "this machine has an NVIDIA driver"


def unavailable_reason() -> str:
    """Why `device="cuda"` cannot be used."""
    if importlib.util.find_spec("tokenfuse_sdk._cuda") is None:
        return "this tokenfuse was built without a CUDA engine (no tokenfuse_sdk._cuda)"
    return "tokenfuse_sdk._cuda is there, but this version of tokenfuse does not use it"
