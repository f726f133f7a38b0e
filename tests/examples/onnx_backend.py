"""A backend of Triton Inference Server that runs `model.onnx` by ONNX Runtime, in Python.

For `test_triton_server.py`, whose server has no backend for it.
"""

from __future__ import annotations

import pathlib
from typing import Any

import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        """All is in config.pbtxt."""
        return config

    def initialize(self, args: dict[str, str]) -> None:
        path = pathlib.Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        path = path / "model.onnx" if path.is_dir() else path
        self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def execute(self, requests: list[Any]) -> list[Any]:
        responses = []
        for request in requests:
            names = list(request.requested_output_names())
            feeds = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            values = self._session.run(names, feeds)
            tensors = [
                pb_utils.Tensor(name, value) for name, value in zip(names, values, strict=True)
            ]
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
        return responses
