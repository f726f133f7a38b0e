"""The calls of the CUDA runtime that are used here, each checked: the package `cuda-bindings`."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from tokenfuse_sdk.errors import DeviceError

__all__ = ["DEVICE", "Cuda", "load_bindings"]

# As the native engine has it: CUDA_VISIBLE_DEVICES chooses which one that is.
DEVICE = 0
# Of cudaError_t.
_OUT_OF_MEMORY = 2


def load_bindings() -> Any:
    """`cuda.bindings.runtime`; raises ImportError where the package is not installed."""
    return importlib.import_module("cuda.bindings.runtime")


class Cuda:
    """One GPU: its memory, pinned memory of the host, streams.

    Addresses and streams are integers. A call that CUDA refuses, or that tells of an earlier
    one's failure, raises DeviceError with its name.

    Args:
        runtime: `cuda.bindings.runtime`.
    """

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self._copies = runtime.cudaMemcpyKind

    def _call(self, name: str, *args: Any) -> Any:
        """The results of a call: none, one, or a tuple."""
        error, *results = getattr(self._runtime, name)(*args)
        if int(error):
            raise self._failure(name, error)
        if len(results) > 1:
            return tuple(results)
        return results[0] if results else None

    def _failure(self, name: str, error: Any) -> DeviceError:
        _, text = self._runtime.cudaGetErrorString(error)
        what = text.decode() if isinstance(text, bytes) else str(text)
        told = f"{name}: {getattr(error, 'name', error)} ({what})"
        if int(error) == _OUT_OF_MEMORY:
            return DeviceError(
                f"the GPU has not enough memory ({told}); close other programs on it, load a "
                "smaller model, or use device='cpu'"
            )
        return DeviceError(
            f"CUDA failed: {told}; if it happens again, run `tokenfuse doctor` and restart the "
            "process"
        )

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Our device as the thread's; what the thread had comes back."""
        before = self._call("cudaGetDevice")
        if before == DEVICE:
            yield
            return
        self._call("cudaSetDevice", DEVICE)
        try:
            yield
        finally:
            self._call("cudaSetDevice", before)

    def num_devices(self) -> int:
        return int(self._call("cudaGetDeviceCount"))

    def driver_version(self) -> int:
        """Of CUDA, as the driver has it: 13000 is 13.0; 0 where there is no driver."""
        return int(self._call("cudaDriverGetVersion"))

    def runtime_version(self) -> int:
        return int(self._call("cudaRuntimeGetVersion"))

    def compute_capability(self) -> tuple[int, int]:
        attributes = self._runtime.cudaDeviceAttr
        major, minor = (
            int(self._call("cudaDeviceGetAttribute", attribute, DEVICE))
            for attribute in (
                attributes.cudaDevAttrComputeCapabilityMajor,
                attributes.cudaDevAttrComputeCapabilityMinor,
            )
        )
        return major, minor

    def device_name(self) -> str:
        name = self._call("cudaGetDeviceProperties", DEVICE).name
        return name.decode() if isinstance(name, bytes) else str(name)

    def allocate(self, num_bytes: int) -> int:
        return int(self._call("cudaMalloc", num_bytes))

    def free(self, address: int) -> None:
        self._call("cudaFree", address)

    def allocate_pinned(self, num_bytes: int) -> int:
        return int(self._call("cudaMallocHost", num_bytes))

    def free_pinned(self, address: int) -> None:
        self._call("cudaFreeHost", address)

    def open_stream(self) -> int:
        """One that does not wait for the default stream."""
        flag = self._runtime.cudaStreamNonBlocking
        return int(self._call("cudaStreamCreateWithFlags", flag))

    def close_stream(self, stream: int) -> None:
        self._call("cudaStreamDestroy", stream)

    def copy_in(self, target: int, source: int, num_bytes: int, stream: int) -> None:
        """From the host to the device, in the stream's turn; the source must be pinned."""
        kind = self._copies.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", target, source, num_bytes, kind, stream)

    def copy_out(self, target: int, source: int, num_bytes: int, stream: int) -> None:
        """From the device to the host, in the stream's turn; the target must be pinned."""
        kind = self._copies.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", target, source, num_bytes, kind, stream)

    def clear(self, address: int, num_bytes: int, stream: int) -> None:
        """Zeros, in the stream's turn."""
        self._call("cudaMemsetAsync", address, 0, num_bytes, stream)

    def wait(self, stream: int) -> None:
        """Until all that the stream was given is done."""
        self._call("cudaStreamSynchronize", stream)

    def follow(self, stream: int, other: int) -> None:
        """What the stream is given from now on waits for what `other` was given until now."""
        flag = self._runtime.cudaEventDisableTiming
        event = self._call("cudaEventCreateWithFlags", flag)
        try:
            self._call("cudaEventRecord", event, other)
            self._call("cudaStreamWaitEvent", stream, event, 0)
        finally:
            # CUDA lets go of it once both have passed.
            self._call("cudaEventDestroy", event)
