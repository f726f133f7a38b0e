"""TensorRT's runtime on emulated device memory, its engines ONNX Runtime's sessions.

It keeps the rules of the documentation, and tells of a breach as TensorRT does: False or None, and
a message to the logger.
  - A profile's change takes all shapes and addresses away; a shape outside of the profile is
    refused.
  - Before a run every tensor needs a shape and an address that is not null, also where it has no
    elements. What is read and written must be allocated, in full.
  - An output may not lie where an input lies.
  - A run reads and writes when its stream gets there, at the addresses that were set when it was
    asked for.
"""

from __future__ import annotations

import enum
import json
import types
from typing import Any

import numpy as np
import onnxruntime
from emulated_cuda import EmulatedCuda
from emulated_engines import MAGIC

__all__ = [
    "EmulatedContext",
    "EmulatedEngine",
    "EmulatedRuntimeConfig",
    "EmulatedTensorRT",
]

Shape = tuple[int, ...]


class DataType(enum.Enum):
    FLOAT = 0
    INT32 = 3


class TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def log(self, severity: int, msg: str) -> None:
        raise NotImplementedError


class EmulatedTensorRT:
    """What `import tensorrt` gives; on one emulated device.

    Attributes:
        contexts: all that were made.
    """

    DataType = DataType
    TensorIOMode = TensorIOMode
    ILogger = ILogger

    def __init__(self, cuda: EmulatedCuda, version: str = "10.3.0") -> None:
        self.cuda, self.__version__ = cuda, version
        # As of a module that was imported.
        self.__spec__ = types.SimpleNamespace()
        self.contexts: list[EmulatedContext] = []
        module = self

        class Runtime:
            def __init__(self, logger: ILogger) -> None:
                self.logger = logger

            def deserialize_cuda_engine(self, serialized_engine: Any) -> EmulatedEngine | None:
                data = bytes(serialized_engine)
                if not data.startswith(MAGIC):
                    self.logger.log(ILogger.ERROR, "Serialization: magicTag is wrong")
                    return None
                return EmulatedEngine(module, self.logger, data)

        self.Runtime = Runtime


class EmulatedEngine:
    def __init__(self, module: EmulatedTensorRT, logger: ILogger, data: bytes) -> None:
        self.module, self.logger = module, logger
        size = int.from_bytes(data[8:16], "little")
        header = json.loads(data[16 : 16 + size])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            data[16 + size :], options, providers=["CPUExecutionProvider"]
        )
        self.inputs = {one.name: one for one in self.session.get_inputs()}
        outputs = {one.name: one for one in self.session.get_outputs()}
        self.outputs = {n: one for n, one in outputs.items() if n not in header["without"]}
        self.names = [*self.inputs, *self.outputs]
        self.profiles = [
            {name: [tuple(shape) for shape in ranges] for name, ranges in profile.items()}
            for profile in header["profiles"]
        ]
        self.num_io_tensors = len(self.names)
        self.num_optimization_profiles = len(self.profiles)
        self.device_memory_size_v2 = 4096

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        kind = (self.inputs | self.outputs)[name].type
        return {"tensor(float)": DataType.FLOAT, "tensor(int32)": DataType.INT32}[kind]

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Shape]:
        return list(self.profiles[profile_index][name])

    def create_execution_context(
        self, runtime_config: EmulatedRuntimeConfig | None = None
    ) -> EmulatedContext:
        context = EmulatedContext(self)
        context.kernels = None if runtime_config is None else runtime_config.cache
        self.module.contexts.append(context)
        return context

    def create_runtime_config(self) -> EmulatedRuntimeConfig:
        return EmulatedRuntimeConfig()


class EmulatedRuntimeConfig:
    """How contexts are made, by the flavour that compiles kernels where an engine is loaded."""

    cache: object = None

    def create_runtime_cache(self) -> object:
        return object()

    def set_runtime_cache(self, cache: object = None) -> bool:
        self.cache = cache
        return True


class EmulatedContext:
    """One context.

    Attributes:
        profile_changes: profiles that were asked for, in order.
        runs: of each run the shapes of its inputs and all addresses.
        kernels: the cache of compiled ones that it was given.
    """

    kernels: object

    def __init__(self, engine: EmulatedEngine) -> None:
        self.engine, self.profile = engine, 0
        self.shapes: dict[str, Shape] = {}
        self.addresses: dict[str, int] = {}
        self.profile_changes: list[int] = []
        self.runs: list[tuple[dict[str, Shape], dict[str, int]]] = []

    def _refuse(self, what: str) -> bool:
        self.engine.logger.log(ILogger.ERROR, f"Error Code 3: API Usage Error ({what})")
        return False

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        if not 0 <= profile_index < self.engine.num_optimization_profiles or not stream_handle:
            return self._refuse(f"profile {profile_index}, stream {stream_handle}")
        self.profile = profile_index
        self.profile_changes.append(profile_index)
        self.shapes.clear()
        self.addresses.clear()
        return True

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        least, _, most = self.engine.profiles[self.profile][name]
        fits = len(shape) == len(least) and all(
            a <= b <= c for a, b, c in zip(least, shape, most, strict=True)
        )
        if not fits:
            return self._refuse(f"{name} {shape} is outside of profile {self.profile}")
        self.shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if name not in self.engine.names or memory <= 0:
            return self._refuse(f"{name} at {memory}")
        self.addresses[name] = memory
        return True

    def get_tensor_shape(self, name: str) -> Shape:
        if name in self.engine.inputs:
            return self.shapes.get(name, (-1,))
        known: dict[str, int] = {}
        for one in self.engine.inputs.values():
            if one.name not in self.shapes:
                return (-1,) * len(self.engine.outputs[name].shape)
            known |= dict(zip(map(str, one.shape), self.shapes[one.name], strict=True))
        # A free axis has a name, or is a sum of such.
        return tuple(
            axis if isinstance(axis, int) else sum(known[part] for part in axis.split(" + "))
            for axis in self.engine.outputs[name].shape
        )

    def get_max_output_size(self, name: str) -> int:
        return 4 * int(np.prod(self.get_tensor_shape(name)))

    def execute_async_v3(self, stream_handle: int) -> bool:
        engine, cuda = self.engine, self.engine.module.cuda
        lacking = [n for n in engine.inputs if n not in self.shapes]
        lacking += [n for n in engine.names if n not in self.addresses]
        if lacking:
            return self._refuse(f"no shape or address: {', '.join(lacking)}")
        tensors = {
            name: (self.addresses[name], self.get_tensor_shape(name)) for name in engine.names
        }
        spans = {n: (a, a + 4 * int(np.prod(shape))) for n, (a, shape) in tensors.items()}
        for output in engine.outputs:
            for other in engine.names:
                if other != output and _overlap(spans[output], spans[other]):
                    return self._refuse(f"{output} lies where {other} lies")

        def view(name: str) -> np.ndarray:
            address, shape = tensors[name]
            raw = cuda.bytes_at(address, 4 * int(np.prod(shape)), "device")
            ids = engine.get_tensor_dtype(name) is DataType.INT32
            return raw.view(np.int32 if ids else np.float32).reshape(shape)

        def run() -> None:
            feed = {name: view(name).copy() for name in engine.inputs}
            for name, value in zip(
                engine.outputs, engine.session.run(list(engine.outputs), feed), strict=True
            ):
                view(name)[...] = value

        self.runs.append((dict(self.shapes), dict(self.addresses)))
        return cuda.enqueue(stream_handle, run) or self._refuse(f"stream {stream_handle}")


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]
