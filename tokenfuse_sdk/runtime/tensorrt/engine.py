"""One engine of TensorRT and its execution contexts: every call checked, names instead of indices.

Both flavours, `tensorrt` and `tensorrt_rtx`, have the same methods.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from tokenfuse_sdk.errors import DeviceError, UnsupportedModelError
from tokenfuse_sdk.runtime.tensorrt.log import Log
from tokenfuse_sdk.runtime.tensorrt.profiles import Profile, Profiles
from tokenfuse_sdk.runtime.tensorrt.values import Shape

__all__ = ["Context", "Engine", "Tensor"]

_REBUILD = (
    "Where `tokenfuse doctor` finds driver and GPU in order, build it again: `tokenfuse build`"
)
_AGAIN = "If it happens again, run `tokenfuse doctor` and restart the process"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An input or output of an engine."""

    is_input: bool
    dtype: np.dtype[Any]


class Engine:
    """A loaded engine; its contexts may run at the same time.

    Args:
        module: the flavour's.
        runtime: its `Runtime`, made with the log's logger.
        data: the serialised engine, verified.
        name: of its file, for errors.
        log: of the runtime.
        keep_kernels: whether kernels are compiled where the engine is loaded, and contexts share
            them: TensorRT-RTX.

    Raises:
        DeviceError: TensorRT cannot load it; says why.
    """

    def __init__(
        self,
        module: ModuleType,
        runtime: Any,
        data: memoryview,
        *,
        name: str,
        log: Log,
        keep_kernels: bool = False,
    ) -> None:
        self._name, self._log = name, log
        # An engine needs its runtime as long as it lives.
        self._runtime = runtime
        log.clear()
        engine = runtime.deserialize_cuda_engine(data)
        if engine is None:
            raise log.failure(f"TensorRT cannot load {name}", _REBUILD)
        self._engine = engine
        self.num_bytes = data.nbytes
        dtypes = {module.DataType.FLOAT: np.float32, module.DataType.INT32: np.int32}
        tensors: dict[str, Tensor] = {}
        for i in range(engine.num_io_tensors):
            tensor = engine.get_tensor_name(i)
            kind = engine.get_tensor_dtype(tensor)
            if kind not in dtypes:
                raise DeviceError(f"{name}: {tensor} is of type {kind}, which no graph of ours has")
            tensors[tensor] = Tensor(
                is_input=engine.get_tensor_mode(tensor) == module.TensorIOMode.INPUT,
                dtype=np.dtype(dtypes[kind]),
            )
        self.tensors: Mapping[str, Tensor] = tensors
        self.inputs = tuple(name for name, one in tensors.items() if one.is_input)
        self.outputs = tuple(name for name, one in tensors.items() if not one.is_input)
        count = engine.num_optimization_profiles
        self.profiles = Profiles(name, [self._profile(i) for i in range(count)])
        self._opening = threading.Lock()
        self._config: Any = None
        if keep_kernels:
            config = engine.create_runtime_config()
            config.set_runtime_cache(config.create_runtime_cache())
            self._config = config

    def _profile(self, index: int) -> Profile:
        least, most = {}, {}
        for name in self.inputs:
            first, _, last = self._engine.get_tensor_profile_shape(name, index)
            least[name], most[name] = tuple(first), tuple(last)
        return Profile(least=least, most=most)

    def check_outputs(self, names: Sequence[str]) -> None:
        """Raise UnsupportedModelError where it has not all of these."""
        lacking = [name for name in names if name not in self.outputs]
        if lacking:
            raise UnsupportedModelError(
                f"{self._name} was built without the outputs {', '.join(lacking)}; another "
                "backend gives them"
            )

    @property
    def context_bytes(self) -> int:
        """Device memory that each context takes."""
        return int(self._engine.device_memory_size_v2)

    def open_context(self) -> Context:
        """Raises DeviceError where the device has not the memory, or a kernel does not compile."""
        # One at a time: a second one finds the kernels that the first has compiled.
        with self._opening:
            self._log.clear()
            if self._config is None:
                context = self._engine.create_execution_context()
            else:
                context = self._engine.create_execution_context(self._config)
            if context is None:
                raise self._log.failure(f"TensorRT makes no context of {self._name}", _AGAIN)
        return Context(context, self._name, self._log)

    def close(self) -> None:
        """Give its memory back; all contexts went before, and its runtime goes behind it."""
        self._config = self._engine = None


class Context:
    """What runs an engine, in one stream at a time."""

    def __init__(self, context: Any, name: str, log: Log) -> None:
        self._context, self._name, self._log = context, name, log

    def _check(self, done: Any, what: str) -> None:
        if not done:
            raise self._log.failure(f"TensorRT, {self._name}: {what} failed", _AGAIN)

    def use_profile(self, index: int, stream: int) -> None:
        """In the stream's turn; all shapes must be set again behind it."""
        done = self._context.set_optimization_profile_async(index, stream)
        self._check(done, f"set_optimization_profile_async({index})")

    def set_shape(self, name: str, shape: Shape) -> None:
        self._check(self._context.set_input_shape(name, shape), f"set_input_shape({name}, {shape})")

    def set_address(self, name: str, address: int) -> None:
        self._check(self._context.set_tensor_address(name, address), f"set_tensor_address({name})")

    def shape_of(self, name: str) -> Shape:
        """Of an output, once all inputs have theirs."""
        shape = tuple(self._context.get_tensor_shape(name))
        self._check(min(shape, default=0) >= 0, f"get_tensor_shape({name}), which is {shape},")
        return shape

    def most_bytes(self, name: str) -> int:
        """Of an output, at the shapes that the inputs have."""
        num_bytes = int(self._context.get_max_output_size(name))
        self._check(num_bytes >= 0, f"get_max_output_size({name})")
        return num_bytes

    def run(self, stream: int) -> None:
        self._check(self._context.execute_async_v3(stream), "execute_async_v3")
