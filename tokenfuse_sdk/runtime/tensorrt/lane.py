"""What one thread needs of the device: a stream, contexts, device memory, pinned memory."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenfuse_sdk.errors import DeviceError, ModelClosedError
from tokenfuse_sdk.runtime.graphs import is_device_array
from tokenfuse_sdk.runtime.tensorrt.cuda import Cuda
from tokenfuse_sdk.runtime.tensorrt.device_arrays import value_of
from tokenfuse_sdk.runtime.tensorrt.engine import Engine
from tokenfuse_sdk.runtime.tensorrt.graph_context import GraphContext
from tokenfuse_sdk.runtime.tensorrt.memory import Block, Pool
from tokenfuse_sdk.runtime.tensorrt.values import DeviceValue

__all__ = ["Lane"]


class Lane:
    """All that happens in it happens in its stream, in order; only `get` waits.

    Args:
        engines: by graph; a context of each is made when it is first run.
        cuda: the device.
    """

    def __init__(self, engines: Mapping[str, Engine], cuda: Cuda) -> None:
        self._engines, self._cuda = engines, cuda
        self._contexts: dict[str, GraphContext] = {}
        # Held in each call: whoever closes waits for the call, not the other way round.
        self._lock = threading.Lock()
        self._closed = False
        with cuda.current():
            self._stream = cuda.open_stream()
        self._device = Pool(cuda.allocate, cuda.free)
        self._pinned = Pool(cuda.allocate_pinned, cuda.free_pinned)
        # What copies and kernels on their way read: free again once the stream was waited for.
        self._in_flight: list[Any] = []

    def put(self, array: Any) -> DeviceValue:
        """An array of the host, copied; one of the device, where it lies."""
        with self._lock, self._cuda.current():
            self._check_open()
            if is_device_array(array):
                value = value_of(array, self._cuda, self._stream)
                self._in_flight.append(value)
                return value
            return self._copied(array)

    def _copied(self, array: NDArray[Any]) -> DeviceValue:
        assert array.dtype in (np.float32, np.int32), array.dtype
        block = self._device.take(array.nbytes)
        if array.nbytes:
            staged = self._pinned.take(array.nbytes)
            _view(staged, array.shape, array.dtype)[...] = array
            self._in_flight.append(staged)
            self._cuda.copy_in(block.address, staged.address, array.nbytes, self._stream)
        return DeviceValue(
            address=block.address,
            shape=array.shape,
            dtype=array.dtype,
            stream=self._stream,
            owner=block,
        )

    def get(self, value: DeviceValue) -> NDArray[Any]:
        """A copy on the host, once all that the stream was given is done."""
        with self._lock, self._cuda.current():
            self._check_open()
            assert value.stream == self._stream, "a value stays with the thread that made it"
            staged = self._pinned.take(value.num_bytes)
            if value.num_bytes:
                self._cuda.copy_out(staged.address, value.address, value.num_bytes, self._stream)
            self._wait()
            array: NDArray[Any] = _view(staged, value.shape, value.dtype).copy()
            return array

    def run(
        self, graph: str, inputs: Mapping[str, DeviceValue], outputs: Sequence[str]
    ) -> dict[str, DeviceValue]:
        with self._lock, self._cuda.current():
            self._check_open()
            for value in inputs.values():
                assert value.stream == self._stream, "a value stays with the thread that made it"
            context = self._contexts.get(graph)
            if context is None:
                context = GraphContext(self._engines[graph], self._stream, self._device)
                self._contexts[graph] = context
            return context.run(inputs, outputs)

    def _wait(self) -> None:
        self._cuda.wait(self._stream)
        self._in_flight.clear()

    def _check_open(self) -> None:
        if self._closed:
            raise ModelClosedError("the model was closed during the call; load it again")

    @property
    def device_bytes(self) -> int:
        """Of contexts and tensors."""
        contexts = sum(self._engines[graph].context_bytes for graph in tuple(self._contexts))
        return contexts + self._device.num_bytes

    @property
    def pinned_bytes(self) -> int:
        return self._pinned.num_bytes

    def close(self) -> None:
        """Give everything back, behind a call that is under way; a second time nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                with self._cuda.current():
                    self._wait()
                    # Contexts before the memory that they may refer to.
                    self._contexts.clear()
                    self._device.close()
                    self._pinned.close()
                    self._cuda.close_stream(self._stream)
            except DeviceError:
                # After a failure in a kernel CUDA refuses every call of the process: what there
                # was is lost, and the call that failed has told so.
                self._contexts.clear()
                self._in_flight.clear()
                self._device.abandon()
                self._pinned.abandon()


def _view(block: Block, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Pinned memory as an array; it lives as long as the block."""
    num_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = (ctypes.c_uint8 * num_bytes).from_address(block.address)
    return np.ctypeslib.as_array(raw).view(dtype).reshape(shape)
