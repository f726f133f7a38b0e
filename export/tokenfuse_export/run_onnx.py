"""Call an ONNX file by the names of its inputs, with whichever runtime has its operators."""

from __future__ import annotations

import importlib.util
import pathlib
from collections.abc import Mapping, Sequence
from typing import Protocol

from numpy.typing import NDArray

__all__ = ["Call", "open_onnx"]


class Call(Protocol):
    """Inputs by name to outputs by name."""

    def __call__(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]: ...


def open_onnx(path: pathlib.Path, precision: str, outputs: Sequence[str] = ()) -> Call:
    """A graph on the CPU.

    With ONNX Runtime where it is installed, else with the evaluator of the onnx package. bf16 is
    the evaluator's too: ONNX Runtime has no products of that type on a CPU.

    Args:
        path: the ONNX file.
        precision: of `GRAPH_PRECISIONS`.
        outputs: those that are wanted; all without.
    """
    if precision != "bf16" and importlib.util.find_spec("onnxruntime") is not None:
        return _with_onnxruntime(path, outputs)
    return _with_evaluator(path, outputs)


def _with_onnxruntime(path: pathlib.Path, outputs: Sequence[str]) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = list(outputs) or [value.name for value in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _with_evaluator(path: pathlib.Path, outputs: Sequence[str]) -> Call:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(path))
    names = list(outputs) or list(evaluator.output_names)
    return lambda inputs: dict(zip(names, evaluator.run(names, dict(inputs)), strict=True))
