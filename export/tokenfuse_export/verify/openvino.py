"""OpenVINO as a `GraphExecutor` on the CPU: another reader of the same files, for comparison."""

from __future__ import annotations

import importlib
import pathlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenfuse_sdk.errors import DeviceError, UnsupportedModelError
from tokenfuse_sdk.graphs import GRAPHS
from tokenfuse_sdk.runtime.graphs.failure import failure_told

__all__ = ["OpenVinoExecutor", "load_openvino"]


def load_openvino() -> ModuleType:
    """The package.

    Raises:
        DeviceError: it is not there; says what to do.
    """
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise DeviceError(
            f"the package openvino is not installed ({error}): pip install openvino"
        ) from error


def _failure_told(what: str) -> AbstractContextManager[None]:
    """All of its errors are RuntimeErrors, which say at their end what is wrong."""
    return failure_told(
        f"OpenVINO cannot {what}", RuntimeError, lambda error: UnsupportedModelError, line=-1
    )


class OpenVinoExecutor:
    """Runs graphs by OpenVINO's CPU plugin; one request for each call.

    Arithmetic is what the graph says: without the hint it would choose bf16 on some CPUs.

    Args:
        folder: with `<graph>.onnx`, and `<graph>.onnx.data` where weights are apart.
        num_threads: that one call uses; 0 for its own choice.

    Raises:
        DeviceError: the package is not there.
        UnsupportedModelError: it cannot read or compile a graph.
    """

    def __init__(self, folder: pathlib.Path, *, num_threads: int = 0) -> None:
        core = load_openvino().Core()
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        if num_threads:
            options["INFERENCE_NUM_THREADS"] = num_threads
        self._graphs = {}
        for graph in GRAPHS:
            with _failure_told(f"open {graph}.onnx"):
                self._graphs[graph] = core.compile_model(folder / f"{graph}.onnx", "CPU", options)

    def put(self, array: NDArray[Any]) -> NDArray[Any]:
        return array

    def get(self, value: NDArray[Any]) -> NDArray[Any]:
        return value

    def run(self, graph: str, inputs: Mapping[str, Any], outputs: Sequence[str]) -> dict[str, Any]:
        with _failure_told(f"run {graph}.onnx"):
            request = self._graphs[graph].create_infer_request()
            request.infer(dict(inputs))
            # Copies: the next request may use the same memory.
            return {name: np.array(request.get_tensor(name).data) for name in outputs}

    def memory_report(self) -> dict[str, int]:
        return {}

    def close(self) -> None:
        self._graphs = {}
