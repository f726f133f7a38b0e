"""OpenVINO: the latency hint, one stream, fixed shapes, one inference request per graph.

fp32 and bf16 by the hint of inference precision, int8 by NNCF's post-training quantisation for
transformers. What is not quantised runs by the hint as well, so int8 is there twice: with float32
it is faster where the CPU's bf16 is slow (AVX-512 without AMX on Intel), else with bf16.
Pinned threads or free ones, and hyper-threading, made no difference on two virtual cores.
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
from graphs import Call, GraphContestant, calibration
from work import GRAPHS, Task

PACKAGES = ("openvino",)
QUANTISERS = ("nncf",)
GRAPHS_NEEDED = True


def settings(variant: str, precision: str) -> str:
    """What it runs with, in a line."""
    how = f"LATENCY, one stream, INFERENCE_PRECISION_HINT={variant}, fixed shapes"
    return how + ("; NNCF post-training int8 for transformers" if precision == "int8" else "")


def _path(task: Task, name: str) -> pathlib.Path:
    if task.precision == "int8":
        return task.part_folder / f"{name}.nncf.xml"
    return task.part_folder / f"{name}.onnx"


def _compiled(core: Any, model: Any, task: Task, hint: str) -> Call:
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": task.num_threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": hint,
    }
    if task.cache:
        settings["CACHE_DIR"] = task.cache
    compiled = core.compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()

    names = [output.any_name for output in compiled.outputs]

    def call(**inputs: np.ndarray) -> dict[str, np.ndarray]:
        # The results are views of the request's memory, which the next call overwrites; none is
        # kept over two calls of one graph.
        results = request.infer(inputs, share_inputs=True, share_outputs=True)
        return {name: results[i] for i, name in enumerate(names)}

    return call


def prepare(task: Task) -> None:
    """Quantise the graphs, once."""
    if task.precision != "int8" or _path(task, GRAPHS[-1]).exists():
        return
    import nncf
    import openvino

    core = openvino.Core()
    models = {name: core.read_model(task.part_folder / f"{name}.onnx") for name in GRAPHS}
    calls = {name: _compiled(core, model, task, "f32") for name, model in models.items()}

    def kept(name: str) -> Call:
        return lambda **inputs: {key: y.copy() for key, y in calls[name](**inputs).items()}

    for name, rows in calibration(task, {name: kept(name) for name in GRAPHS}).items():
        quantised = nncf.quantize(
            models[name],
            nncf.Dataset(rows),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(rows),
        )
        openvino.save_model(quantised, _path(task, name), compress_to_fp16=False)


def open_contestant(task: Task) -> GraphContestant:
    import openvino

    core = openvino.Core()
    calls = {
        name: _compiled(core, core.read_model(_path(task, name)), task, task.variant)
        for name in GRAPHS
    }
    return GraphContestant(calls, task.batch_size)
