"""ONNX Runtime: all graph optimisations, sequential execution, its own pool of threads.

int8 is its dynamic quantisation, per channel, of matrix products. Tried and left out, on a Xeon
with VNNI and the tiny model: static quantisation takes 2.5 times as long, since its pairs of
quantise and dequantise nodes stay around the biases; the fused attention node
(`MultiHeadAttention`) is no faster than the plain products.
"""

from __future__ import annotations

import pathlib

import numpy as np
from graphs import Call, GraphContestant
from work import GRAPHS, Task

PACKAGES = ("onnxruntime",)
QUANTISERS = ("onnx",)
GRAPHS_NEEDED = True


def settings(variant: str, precision: str) -> str:
    """What it runs with, in a line."""
    how = "all graph optimisations, sequential, own threads with force_spinning_stop, fixed shapes"
    return how + ("; dynamic int8 per channel of MatMul" if precision == "int8" else "")


def _path(task: Task, name: str) -> pathlib.Path:
    kind = "" if task.precision == "fp32" else ".int8"
    return task.part_folder / f"{name}{kind}.onnx"


def _session(path: pathlib.Path, num_threads: int) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
    options.log_severity_level = 3
    # Each of the three graphs has threads of its own: those of one must not spin while another
    # runs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    names = [value.name for value in session.get_outputs()]

    def call(**inputs: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, inputs), strict=True))

    return call


def prepare(task: Task) -> None:
    """Quantise the graphs, once."""
    if task.precision == "fp32" or _path(task, GRAPHS[-1]).exists():
        return
    from onnxruntime import quantization

    for name in GRAPHS:
        quantization.quantize_dynamic(
            task.part_folder / f"{name}.onnx",
            _path(task, name),
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
        )


def open_contestant(task: Task) -> GraphContestant:
    calls = {name: _session(_path(task, name), task.num_threads) for name in GRAPHS}
    return GraphContestant(calls, task.batch_size)
