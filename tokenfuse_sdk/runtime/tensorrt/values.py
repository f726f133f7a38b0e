"""What the executor's callers hold: a tensor on the device."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

__all__ = ["DeviceValue", "Shape"]

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeviceValue:
    """A C-contiguous tensor on the device; the thread that made it may use it.

    Attributes:
        address: never null, also where there are no elements.
        shape: its extents.
        dtype: float32 or int32.
        stream: in whose turn it is written.
        owner: what keeps the memory; it may hold more bytes than the tensor has.
    """

    address: int
    shape: Shape
    dtype: np.dtype[Any]
    stream: int
    owner: Any

    @property
    def num_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize
