"""The ONNX files of a model in several precisions: each graph is traced once per dtype."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence

import torch

from tokenfuse_export.calibration import Calibration
from tokenfuse_export.graphs import graphs_of
from tokenfuse_export.onnx_proto import clean_model, export_graph, facts_of, write_model
from tokenfuse_export.quantize import quantize_linears, weight_keys
from tokenfuse_export.ranges import input_ranges
from tokenfuse_training.model import JointModel

__all__ = ["write_graphs"]

# What a traced graph is written as, and as what once its linears are in 8 bits.
_PRECISIONS_OF = {
    torch.float32: ("fp32", "int8"),
    torch.float16: ("fp16", "int8_fp16"),
    torch.bfloat16: ("bf16", None),
}


def write_graphs(
    model: JointModel,
    folder: pathlib.Path,
    *,
    precisions: Sequence[str],
    opset: int,
    weights_sha256: str,
    calibration: Calibration | None,
    progress: Callable[[str], None],
) -> None:
    """Write `<folder>/<precision>/<graph>.onnx`.

    Args:
        model: the float32 reference.
        folder: an empty one.
        precisions: of `GRAPH_PRECISIONS`.
        opset: of the default domain.
        weights_sha256: of the bundle's weights, "" without one.
        calibration: for precisions with int8.
        progress: is told what is done.
    """
    ranges = {}
    if calibration is not None:
        progress(f"ranges of {len(calibration.text_CL)} pictures and questions")
        ranges = input_ranges(model, calibration)
    for precision in precisions:
        (folder / precision).mkdir()
    for dtype, (plain, quantized) in _PRECISIONS_OF.items():
        wanted = [precision for precision in (plain, quantized) if precision in precisions]
        if not wanted:
            continue
        keys = weight_keys(model, dtype) if quantized in wanted else {}
        for name, graph in graphs_of(model, dtype).items():
            progress(f"{' and '.join(wanted)}: {name}")
            onnx_model = export_graph(graph, model.config, opset)
            for precision in wanted:
                if precision == quantized:
                    quantize_linears(onnx_model, keys, ranges)
                clean_model(onnx_model, facts_of(model.config, precision, weights_sha256))
                write_model(onnx_model, folder / precision / f"{name}.onnx")
