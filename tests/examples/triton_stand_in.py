"""What the Python backend of Triton Inference Server offers to a model, without the server.

A server that pip installs needs an environment of its own: `test_triton_server.py` has it, where
there is one. Here a request to another model is held against that model's config.pbtxt, as the
server does, and then run by ONNX Runtime on the repository's own file.
"""

from __future__ import annotations

import pathlib
import types
from typing import Any

import numpy as np
import onnxruntime

__all__ = ["DTYPES", "Tensor", "backend_utils", "check_tensors", "kind_of"]

TRITONSERVER_MEMORY_CPU = 0
DTYPES = {"TYPE_FP32": np.float32, "TYPE_INT32": np.int32, "TYPE_STRING": np.object_}


class Tensor:
    def __init__(self, name: str, array: np.ndarray) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._array


class PreferredMemory:
    def __init__(self, kind: int, device: int) -> None:
        assert (kind, device) == (TRITONSERVER_MEMORY_CPU, 0)


class TritonError:
    def __init__(self, message: str) -> None:
        self._message = message

    def message(self) -> str:
        return self._message


class TritonModelException(Exception):
    pass


class InferenceResponse:
    def __init__(
        self, output_tensors: list[Tensor] | None = None, error: TritonError | None = None
    ) -> None:
        self._tensors, self._error = output_tensors or [], error

    def output_tensors(self) -> list[Tensor]:
        return self._tensors

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError | None:
        return self._error


def backend_utils(repository: pathlib.Path, configs: dict[str, Any]) -> types.ModuleType:
    """The module `triton_python_backend_utils` of a server of this repository.

    Args:
        repository: of models.
        configs: their config.pbtxt, parsed.
    """
    sessions: dict[str, onnxruntime.InferenceSession] = {}

    class InferenceRequest:
        def __init__(
            self,
            *,
            model_name: str,
            requested_output_names: list[str],
            inputs: list[Tensor],
            preferred_memory: PreferredMemory | None = None,
        ) -> None:
            self._model, self._outputs, self._inputs = model_name, requested_output_names, inputs

        def inputs(self) -> list[Tensor]:
            return self._inputs

        def exec(self) -> InferenceResponse:
            config, path = configs[self._model], repository / self._model / "1" / "model.onnx"
            check_tensors(config.input, self._inputs, config.max_batch_size)
            if self._model not in sessions:
                sessions[self._model] = onnxruntime.InferenceSession(
                    path, providers=["CPUExecutionProvider"]
                )
            names = self._outputs or [output.name for output in config.output]
            feeds = {tensor.name(): tensor.as_numpy() for tensor in self._inputs}
            values = sessions[self._model].run(names, feeds)
            tensors = [Tensor(name, value) for name, value in zip(names, values, strict=True)]
            check_tensors(config.output, tensors, config.max_batch_size)
            return InferenceResponse(output_tensors=tensors)

    module = types.ModuleType("triton_python_backend_utils")
    module.TRITONSERVER_MEMORY_CPU = TRITONSERVER_MEMORY_CPU  # type: ignore[attr-defined]
    for part in (
        Tensor,
        PreferredMemory,
        TritonError,
        TritonModelException,
        InferenceResponse,
        InferenceRequest,
    ):
        setattr(module, part.__name__, part)
    return module


def kind_of(declared: Any) -> str:
    """The type of a tensor of a config.pbtxt, by its name there."""
    kinds = declared.DESCRIPTOR.fields_by_name["data_type"].enum_type
    return str(kinds.values_by_number[declared.data_type].name)


def check_tensors(declared: Any, given: list[Tensor], max_batch: int) -> None:
    """As the server: all that are not optional, and no others, of their types and shapes."""
    known = {tensor.name: tensor for tensor in declared}
    names = {tensor.name() for tensor in given}
    assert names <= known.keys(), names - known.keys()
    needed = {n for n, tensor in known.items() if not getattr(tensor, "optional", False)}
    assert needed <= names, needed - names
    for tensor in given:
        config, array = known[tensor.name()], tensor.as_numpy()
        assert array.dtype == DTYPES[kind_of(config)], tensor.name()
        shape = array.shape[1:] if max_batch else array.shape
        assert len(shape) == len(config.dims), (tensor.name(), shape)
        fits = zip(shape, config.dims, strict=True)
        assert all(dim in (-1, size) for size, dim in fits), (tensor.name(), shape)
        if max_batch:
            assert 1 <= array.shape[0] <= max_batch
