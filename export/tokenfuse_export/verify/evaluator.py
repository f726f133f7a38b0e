"""The evaluator of the onnx package as a `GraphExecutor`: slow, but it has every operator."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from tokenfuse_sdk.graphs import GRAPHS

__all__ = ["EvaluatorExecutor"]


class EvaluatorExecutor:
    """Runs graphs in NumPy, node by node.

    Args:
        folder: with `<graph>.onnx`, and `<graph>.onnx.data` where weights are apart.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        from onnx.reference import ReferenceEvaluator

        self._graphs = {
            graph: ReferenceEvaluator(str(folder / f"{graph}.onnx")) for graph in GRAPHS
        }

    def put(self, array: NDArray[Any]) -> NDArray[Any]:
        return array

    def get(self, value: NDArray[Any]) -> NDArray[Any]:
        return value

    def run(self, graph: str, inputs: Mapping[str, Any], outputs: Sequence[str]) -> dict[str, Any]:
        values = self._graphs[graph].run(list(outputs), dict(inputs))
        return dict(zip(outputs, values, strict=True))

    def memory_report(self) -> dict[str, int]:
        return {}

    def close(self) -> None:
        self._graphs = {}
