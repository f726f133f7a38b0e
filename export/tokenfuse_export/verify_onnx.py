"""The graphs of a folder against PyTorch."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import torch

from tokenfuse_export.errors import ExportError
from tokenfuse_export.graphs import graphs_of, reference_output
from tokenfuse_training.model import JointModel

__all__ = [
    "ERROR_BOUND",
    "GraphReport",
    "check_graphs",
    "refuse_errors",
    "run_with_onnxruntime",
    "run_with_reference",
]

# Worst error over the root mean square of the output. float32 sums in another order stay near
# 1e-5 for models of some 30 layers; a wrong graph is off by far more.
ERROR_BOUND = 1e-4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GraphReport:
    """One exported graph against PyTorch.

    Attributes:
        name: one of `GRAPHS`.
        size_bytes: of the file.
        num_nodes: in the file, before any runtime has optimised it.
        max_abs_error: largest absolute difference to PyTorch.
        max_rel_error: the same over the root mean square of PyTorch's output.
    """

    name: str
    size_bytes: int
    num_nodes: int
    max_abs_error: float
    max_rel_error: float


def run_with_onnxruntime(path: pathlib.Path) -> Callable[..., np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda **inputs: session.run(None, inputs)[0]


def run_with_reference(path: pathlib.Path) -> Callable[..., np.ndarray]:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(path))
    return lambda **inputs: evaluator.run(None, inputs)[0]


def check_graphs(
    model: JointModel, folder: str | os.PathLike[str], *, token_budget: int, batch_size: int = 1
) -> tuple[str, tuple[GraphReport, ...]]:
    """Run the graphs of a folder and compare them with PyTorch.

    With ONNX Runtime where it is installed, else with the evaluator of the onnx package.

    Returns:
        The name of the runtime, and one report per graph.
    """
    import onnx

    has_runtime = importlib.util.find_spec("onnxruntime") is not None
    open_graph = run_with_onnxruntime if has_runtime else run_with_reference
    reports = []
    for name, graph in graphs_of(model, token_budget, batch_size).items():
        path = pathlib.Path(folder) / f"{name}.onnx"
        with torch.no_grad():
            want = reference_output(model, name, graph.inputs, token_budget).numpy()
        got = open_graph(path)(**{key: value.numpy() for key, value in graph.inputs.items()})
        worst = float(np.abs(got - want).max()) if got.shape == want.shape else float("inf")
        reports.append(
            GraphReport(
                name=name,
                size_bytes=path.stat().st_size,
                num_nodes=len(onnx.load(path).graph.node),
                max_abs_error=worst,
                max_rel_error=worst / float(np.sqrt(np.mean(np.square(want, dtype=np.float64)))),
            )
        )
    return ("onnxruntime" if has_runtime else "onnx reference"), tuple(reports)


def refuse_errors(reports: Sequence[GraphReport], error_bound: float) -> None:
    for report in reports:
        # `not <=` also catches NaN.
        if not report.max_rel_error <= error_bound:
            raise ExportError(
                f"{report.name}.onnx is off by {report.max_rel_error:.1e} of its output's root "
                f"mean square; allowed is {error_bound:.0e}. Nothing was written; try another "
                "opset or version of torch, and report it"
            )
