"""The compiled module `tokenfuse_sdk._cuda`, loaded where it is first used.

Why it may not be there, and its failures as our errors.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
from collections.abc import Iterator
from types import ModuleType

from tokenfuse_sdk.errors import DeviceError

__all__ = ["cuda_failure_told", "load_cuda", "unavailable_reason"]

# As csrc/cmake/cuda.cmake has it: 80 is 8.0.
_OLDEST = 80


def _driver_state() -> str:
    """Whether an NVIDIA driver is on this machine, in words."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver was found on this machine (libcuda.so.1 does not load)"
    return "this machine has an NVIDIA driver"


def load_cuda() -> ModuleType:
    """The compiled module; `unavailable_reason` says beforehand whether that can be."""
    return importlib.import_module("tokenfuse_sdk._cuda")


def unavailable_reason() -> str | None:
    """Why `device="cuda"` cannot be used, or None where it can."""
    if importlib.util.find_spec("tokenfuse_sdk._cuda") is None:
        return (
            "this tokenfuse was built without a CUDA engine (no tokenfuse_sdk._cuda; in its "
            "sources, `pip install . -C cmake.define.TOKENFUSE_CUDA=ON` builds one), and "
            f"{_driver_state()}"
        )
    try:
        module = load_cuda()
    except ImportError as error:
        return f"tokenfuse_sdk._cuda does not load ({error})"
    if module.device_count() == 0:
        return f"no CUDA device is there: {_driver_state()}"
    try:
        return _misfit(module)
    except module.CudaError as error:
        return f"CUDA failed: {error}"


def _misfit(module: ModuleType) -> str | None:
    """Why this build does not run on the GPU that is there."""
    if module.has_code():
        return None
    info = module.device_info()
    name, capability = info["name"], info["compute_capability"]
    if capability < _OLDEST:
        return f"{name} has compute capability {capability / 10}; the CUDA engine needs 8.0"
    return (
        f"this tokenfuse was built for other GPUs than {name}, compute capability "
        f"{capability / 10}: install it on this machine, or with TOKENFUSE_CUDA=ON"
    )


@contextlib.contextmanager
def cuda_failure_told(module: ModuleType) -> Iterator[None]:
    """Tell a failing call of CUDA inside the block as `DeviceError`."""
    try:
        yield
    except module.OutOfMemory as error:
        raise DeviceError(
            f"the GPU has not enough memory ({error}); close other programs on it, load a "
            "smaller model, or use device='cpu'"
        ) from error
    except module.CudaError as error:
        raise DeviceError(
            f"CUDA failed: {error}; if it happens again, run `tokenfuse doctor` and restart "
            "the process, or use device='cpu'"
        ) from error
