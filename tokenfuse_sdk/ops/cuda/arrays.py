"""Arrays of our own on the GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenfuse_sdk.ops.cuda.call import call

__all__ = ["to_device"]


def to_device(
    array: NDArray[np.float32] | NDArray[np.int32], precision: str = "fp16", *, stream: int = 0
) -> Any:
    """Copy a NumPy array to the GPU, and wait for it.

    Args:
        array: float32, which is rounded to `precision`, or int32, which is kept.
        precision: "fp16", "bf16" or "fp32".
        stream: a cudaStream_t.

    Returns:
        A `DeviceArray`: `shape`, `dtype`, `__dlpack__`, `__cuda_array_interface__` (but for
        bfloat16), and `to_host()`, float32 or int32, which waits.

    Raises:
        OpError: another dtype or precision.
        DeviceError: no GPU, or it has not the memory.
    """
    return call("to_device", array, precision, stream=stream)
