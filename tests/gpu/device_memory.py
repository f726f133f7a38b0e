"""Arrays on the device as the tests make them: torch's, or on the emulator the host's."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from tokenfuse_sdk.ops import cuda

__all__ = ["Device", "HostMemory"]

_TORCH = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


class HostMemory:
    """An array that claims to lie on a device: for the emulator, whose device memory is the host's.

    Not NumPy's own, so that it is taken by `__cuda_array_interface__` alone.
    """

    def __init__(self, array: np.ndarray, **shown: Any) -> None:
        self.array = array
        self.shown = shown

    @classmethod
    def of(cls, array: np.ndarray) -> HostMemory:
        """A copy that begins at a multiple of 256 bytes, as a device's memory does."""
        raw = np.empty(array.nbytes + 256, np.uint8)
        first = -raw.ctypes.data % 256
        room = raw[first : first + array.nbytes].view(array.dtype).reshape(array.shape)
        room[...] = array
        return cls(room)

    def __getitem__(self, key: Any) -> HostMemory:
        return HostMemory(self.array[key])

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.array.shape,
            "typestr": self.array.dtype.str,
            "data": (self.array.ctypes.data, False),
            "strides": self.array.strides,
            "version": 3,
            **self.shown,
        }


@dataclasses.dataclass(frozen=True)
class Device:
    """Puts arrays on the device and gets them back."""

    is_emulated: bool

    def put(self, array: np.ndarray, precision: str = "fp32") -> Any:
        """float32 in a precision, int32 as it is; to be sliced, but for the emulator's bf16."""
        floats = array.dtype.kind == "f"
        if not self.is_emulated:
            tensor = torch.tensor(array, device="cuda")
            return tensor.to(_TORCH[precision]) if floats else tensor
        if precision == "bf16":
            return cuda.to_device(array, "bf16")
        return HostMemory.of(array.astype(np.float16) if precision == "fp16" else array)

    def get(self, array: Any) -> np.ndarray:
        """float32 or int32."""
        if isinstance(array, HostMemory):
            array = array.array
            return array.astype(np.float32) if array.dtype.kind == "f" else array
        if isinstance(array, torch.Tensor):
            return (array.float() if array.is_floating_point() else array).cpu().numpy()
        return array.to_host()
