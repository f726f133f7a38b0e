"""The model `answer` of a Triton repository: pictures and questions to answers.

`examples/triton_repository.py` copies this file to `answer/1/model.py`, and what it imports beside
it. It is no script: the Python backend of Triton Inference Server (23.04 or later) runs it, and it
runs the three graphs as models of the same server.
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import triton_python_backend_utils as pb_utils

# What is beside this file, wherever the backend looks.
sys.path.insert(0, str(pathlib.Path(__file__).parent))

import foreign_runtime


def run(graph: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One graph, in this server."""
    request = pb_utils.InferenceRequest(
        model_name=graph,
        requested_output_names=[],
        inputs=[pb_utils.Tensor(name, value) for name, value in inputs.items()],
        # A graph that runs on a GPU would leave its outputs there, where NumPy cannot read them.
        preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
    )
    response = request.exec()
    if response.has_error():
        raise pb_utils.TritonModelException(f"{graph}: {response.error().message()}")
    return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}


class TritonPythonModel:
    """What the backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        self._facts = foreign_runtime.read_facts(pathlib.Path(__file__).parent)

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list:
        return [self._respond(request) for request in requests]

    def _respond(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        # Whatever is wrong with one request is told to who sent it; the others have their answers.
        try:
            return pb_utils.InferenceResponse(output_tensors=self._answer(request))
        except Exception as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))

    def _answer(self, request: pb_utils.InferenceRequest) -> list[pb_utils.Tensor]:
        given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        if ("image" in given) == ("image_tokens" in given):
            raise ValueError("give `image` or, of a picture that was encoded, `image_tokens`")
        if "image" in given:
            f_BND = foreign_runtime.encode(self._facts, run, given["image"][0])
        else:
            f_BND = given["image_tokens"][None]
        questions = [text.decode("utf-8") for text in given["questions"]]
        answers = [foreign_runtime.answer(self._facts, run, f_BND, text) for text in questions]
        return [
            pb_utils.Tensor("answers", np.array([text.encode() for text, _ in answers], object)),
            pb_utils.Tensor("confidences", np.array([share for _, share in answers], np.float32)),
            pb_utils.Tensor("image_tokens", f_BND[0]),
        ]
