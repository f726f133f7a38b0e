"""`cuda.bindings.runtime` on the host's memory: what proves addresses and order without a GPU.

Not a stand-in that agrees with everything: as csrc/core/cuda/emulator.h, it makes fail what a GPU
leaves undefined.
  - What a stream is given happens when somebody waits for it, and not before: memory that is
    written over too early, or read too early, gives other numbers.
  - New memory is full of ones, which is NaN as a float and -1 as an id; memory that is given back
    is full of them too, and may not be touched.
  - Every access must lie within one allocation, of the right kind: copies ask for pinned memory.
  - A refusal is an error code, as CUDA has them; one that comes late is told by who waits.
"""

from __future__ import annotations

import ctypes
import enum
import threading
from collections.abc import Callable

import numpy as np

__all__ = ["EmulatedCuda"]


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorNoDevice = 100
    cudaErrorInvalidResourceHandle = 400
    cudaErrorIllegalAddress = 700


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaDeviceAttr(enum.IntEnum):
    cudaDevAttrComputeCapabilityMajor = 75
    cudaDevAttrComputeCapabilityMinor = 76


_OK = (cudaError_t.cudaSuccess,)
_INVALID = (cudaError_t.cudaErrorInvalidValue,)
_HANDLE = (cudaError_t.cudaErrorInvalidResourceHandle,)


class IllegalAddressError(Exception):
    """An access outside of what is allocated, or of the wrong kind."""


class _Properties:
    name = b"Emulated GPU"


class _Allocation:
    def __init__(self, num_bytes: int, kind: str) -> None:
        self.kind, self.num_bytes = kind, num_bytes
        raw = (ctypes.c_uint8 * (num_bytes + 256))()
        skip = -ctypes.addressof(raw) % 256
        self.bytes = np.frombuffer(raw, np.uint8)[skip : skip + num_bytes]
        self.bytes[...] = 255
        self.address = self.bytes.ctypes.data if num_bytes else ctypes.addressof(raw) + skip


class EmulatedCuda:
    """One device. Attributes of it may be changed by tests.

    Attributes:
        num_allocations: of both kinds, since the beginning.
        memory_limit: bytes that the device has, or None.
    """

    cudaError_t = cudaError_t
    cudaMemcpyKind = cudaMemcpyKind
    cudaDeviceAttr = cudaDeviceAttr
    cudaStreamNonBlocking = 1
    cudaEventDisableTiming = 2

    def __init__(self, *, capability: tuple[int, int] = (8, 6), driver: int = 13_000) -> None:
        self.capability, self.driver, self.device_count = capability, driver, 1
        self.num_allocations = 0
        self.memory_limit: int | None = None
        self._lock = threading.RLock()
        self._memory: dict[int, _Allocation] = {}
        # Kept, so that no later allocation gets their address: its use must be an error.
        self._freed: list[_Allocation] = []
        self._streams: dict[int, list[Callable[[], None]]] = {}
        self._events: dict[int, tuple[int, int]] = {}
        self._failed: cudaError_t | None = None
        self._device = threading.local()
        self._next_handle = 0x1000

    # What tests look at.
    def live(self, kind: str) -> list[int]:
        """Bytes of what is allocated: "device" or "pinned"."""
        with self._lock:
            return [one.num_bytes for one in self._memory.values() if one.kind == kind]

    @property
    def num_streams(self) -> int:
        return len(self._streams)

    # What the emulated TensorRT uses.
    def bytes_at(self, address: int, num_bytes: int, kind: str) -> np.ndarray:
        """A view of memory; raises IllegalAddressError."""
        with self._lock:
            for one in self._memory.values():
                first = address - one.address
                if one.kind == kind and 0 <= first <= one.num_bytes - num_bytes:
                    return one.bytes[first : first + num_bytes]
        raise IllegalAddressError(f"{num_bytes} bytes of {kind} memory at {address:#x}")

    def enqueue(self, stream: int, work: Callable[[], None]) -> bool:
        """Whether there is such a stream."""
        with self._lock:
            if stream not in self._streams:
                return False
            self._streams[stream].append(work)
            return True

    def array_of(self, array: np.ndarray) -> int:
        """Device memory that somebody else has, with the array's values: its address."""
        _, address = self.cudaMalloc(array.nbytes)
        self.bytes_at(address, array.nbytes, "device")[...] = array.reshape(-1).view(np.uint8)
        return address

    # The package's functions.
    def cudaGetErrorString(self, error):
        return cudaError_t.cudaSuccess, f"emulated {cudaError_t(error).name}".encode()

    def cudaDriverGetVersion(self):
        return (*_OK, self.driver)

    def cudaRuntimeGetVersion(self):
        return (*_OK, 13_050)

    def cudaGetDeviceCount(self):
        if not self.device_count:
            return cudaError_t.cudaErrorNoDevice, None
        return (*_OK, self.device_count)

    def cudaGetDevice(self):
        return (*_OK, getattr(self._device, "number", 0))

    def cudaSetDevice(self, device):
        self._device.number = device
        return _OK

    def cudaDeviceGetAttribute(self, attr, device):
        return (*_OK, self.capability[attr - cudaDeviceAttr.cudaDevAttrComputeCapabilityMajor])

    def cudaGetDeviceProperties(self, device):
        return (*_OK, _Properties)

    def _allocate(self, size: int, kind: str):
        assert getattr(self._device, "number", 0) == 0, "not on our device"
        with self._lock:
            if kind == "device" and self.memory_limit is not None:
                used = sum(self.live("device"))
                if used + size > self.memory_limit:
                    return cudaError_t.cudaErrorMemoryAllocation, None
            one = _Allocation(size, kind)
            self._memory[one.address] = one
            self.num_allocations += 1
            return (*_OK, one.address)

    def _free(self, address: int, kind: str):
        with self._lock:
            one = self._memory.get(address)
            if self._failed is not None:
                return (self._failed,)
            if one is None or one.kind != kind:
                return _INVALID
            # CUDA waits for the whole device.
            for stream in self._streams:
                self._drain(stream)
            del self._memory[address]
            one.bytes[...] = 255
            self._freed.append(one)
            return _OK

    def cudaMalloc(self, size):
        return self._allocate(size, "device")

    def cudaFree(self, devPtr):
        return self._free(devPtr, "device")

    def cudaMallocHost(self, size):
        return self._allocate(size, "pinned")

    def cudaFreeHost(self, ptr):
        return self._free(ptr, "pinned")

    def cudaStreamCreateWithFlags(self, flags):
        assert flags == self.cudaStreamNonBlocking
        with self._lock:
            self._next_handle += 1
            self._streams[self._next_handle] = []
            return (*_OK, self._next_handle)

    def cudaStreamDestroy(self, stream):
        with self._lock:
            if self._streams.pop(stream, None) is None:
                return _HANDLE
            return _OK

    def cudaMemcpyAsync(self, dst, src, count, kind, stream):
        into = kind == cudaMemcpyKind.cudaMemcpyHostToDevice
        target, source = ("device", "pinned") if into else ("pinned", "device")

        def copy() -> None:
            self.bytes_at(dst, count, target)[...] = self.bytes_at(src, count, source)

        try:
            # Both must be there when it is asked for, and when it is done.
            self.bytes_at(dst, count, target)
            self.bytes_at(src, count, source)
        except IllegalAddressError:
            return _INVALID
        return _OK if self.enqueue(stream, copy) else _HANDLE

    def cudaStreamSynchronize(self, stream):
        with self._lock:
            if stream not in self._streams:
                return _HANDLE
            self._drain(stream)
            return (self._failed or cudaError_t.cudaSuccess,)

    def cudaEventCreateWithFlags(self, flags):
        with self._lock:
            self._next_handle += 1
            self._events[self._next_handle] = (0, 0)
            return (*_OK, self._next_handle)

    def cudaEventRecord(self, event, stream):
        with self._lock:
            if stream not in self._streams:
                return _HANDLE
            self._events[event] = (stream, len(self._streams[stream]))
            return _OK

    def cudaStreamWaitEvent(self, stream, event, flags):
        other, count = self._events[event]
        return _OK if self.enqueue(stream, lambda: self._drain(other, count)) else _HANDLE

    def cudaEventDestroy(self, event):
        return _OK if self._events.pop(event, None) else _HANDLE

    def _drain(self, stream: int, count: int | None = None) -> None:
        """Do what a stream was given; after a failure nothing is done any more, as on a GPU."""
        queue = self._streams[stream]
        for _ in range(len(queue) if count is None else count):
            work = queue.pop(0)
            if self._failed is None:
                try:
                    work()
                except IllegalAddressError:
                    self._failed = cudaError_t.cudaErrorIllegalAddress
