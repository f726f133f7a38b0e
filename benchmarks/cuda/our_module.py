"""The engine's compiled module: for the GPU, or for the emulator. Needs no PyTorch."""

from __future__ import annotations

import importlib
import os
import pathlib
import sys
from types import ModuleType

from tokenfuse_sdk.cuda_module import load_cuda, unavailable_reason

__all__ = ["NotHere", "emulated_module", "gpu_module"]

_EMULATED = "TOKENFUSE_CUDA_EMULATED"


class NotHere(RuntimeError):
    """A contestant cannot take part; the message says why."""


def gpu_module() -> ModuleType:
    """The engine's module, `tokenfuse_sdk._cuda`.

    Raises:
        NotHere: it cannot be used here.
    """
    why = unavailable_reason()
    if why is not None:
        raise NotHere(why)
    return load_cuda()


def emulated_module() -> ModuleType:
    """The same on the emulator, from the folder that the environment names.

    Raises:
        NotHere: the variable is not set, or nothing is there.
    """
    folder = os.environ.get(_EMULATED)
    if not folder or not list(pathlib.Path(folder).glob("_cuda_emulated*.so")):
        raise NotHere(f"no _cuda_emulated: set {_EMULATED} to the folder that has it")
    sys.path.append(folder)
    return importlib.import_module("_cuda_emulated")
