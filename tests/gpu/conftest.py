"""The CUDA module on a GPU, and the same on the emulator, for every test of this folder.

On a GPU: install with `TOKENFUSE_CUDA=ON` or on the machine that has it, then `pytest tests/gpu`.
Without one: `tools/check_cuda.sh`, which sets TOKENFUSE_CUDA_EMULATED to the folder of its module.
Under NVIDIA's compute-sanitizer: `tests/gpu/sanitize.sh`.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pathlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from tokenfuse_sdk.cuda_module import unavailable_reason

if TYPE_CHECKING:
    from device_memory import Device

_TORCH = {"fp16": torch.float16, "bf16": torch.bfloat16}
_VARIABLE = "TOKENFUSE_CUDA_EMULATED"
_HERE = str(pathlib.Path(__file__).parent)
# What the tests share lies beside them.
if _HERE not in sys.path:
    sys.path.append(_HERE)


@functools.cache
def _emulated(folder: str) -> ModuleType:
    (path,) = pathlib.Path(folder).glob("_cuda_emulated*.so")
    spec = importlib.util.spec_from_file_location("_cuda_emulated", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["gpu", "emulated"])
def cuda_module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What `tokenfuse_sdk._cuda` is during the test."""
    if request.param == "gpu":
        reason = unavailable_reason()
        if reason is not None:
            pytest.skip(f"needs an NVIDIA GPU: {reason}")
        return importlib.import_module("tokenfuse_sdk._cuda")
    folder = os.environ.get(_VARIABLE)
    if not folder:
        pytest.skip(
            f"needs the emulator: {_VARIABLE} is not set to the folder of its module; "
            "run tools/check_cuda.sh"
        )
    module = _emulated(folder)
    # The loader finds it as it would find a compiled one.
    monkeypatch.setitem(sys.modules, "tokenfuse_sdk._cuda", module)
    return module


@pytest.fixture
def is_emulated(cuda_module: ModuleType) -> bool:
    return cuda_module.__name__ == "_cuda_emulated"


@pytest.fixture
def floats() -> Callable[..., np.ndarray]:
    rng = np.random.default_rng(20261125)
    return lambda *shape, scale=1.0: (scale * rng.standard_normal(shape)).astype(np.float32)


@pytest.fixture
def device(is_emulated: bool) -> Device:
    from device_memory import Device

    return Device(is_emulated)


@pytest.fixture
def rounded() -> Callable[[np.ndarray, str], np.ndarray]:
    """As torch rounds, in float64."""
    return lambda array, precision: torch.tensor(array).to(_TORCH[precision]).double().numpy()
