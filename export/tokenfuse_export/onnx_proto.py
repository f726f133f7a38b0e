"""One graph as an ONNX model: the call of the exporter, what it leaves behind, and the files.

A model is `onnx_ir.Model`: its weights are those of PyTorch, not copies, until they are written.
"""

from __future__ import annotations

import contextlib
import json
import logging
import pathlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from tokenfuse_export.graphs import Graph
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.graphs import METADATA, text_lengths

__all__ = ["clean_model", "export_graph", "facts_of", "write_model"]

# The exporter's.
_LEAST_OPSET = 18
# A protobuf ends at 2 GiB, and readers hold one in memory as a whole.
_MOST_INLINE_BYTES = 128 << 20
# What stays in the protobuf beside external data: shapes and scalars, which readers want early.
_SMALL_BYTES = 1024


def export_graph(graph: Graph, config: ModelConfig, opset: int) -> Any:
    """The graph as an ONNX model with free axes."""
    with _quiet():
        program = torch.onnx.export(
            graph.module,
            tuple(graph.inputs.values()),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=_free_axes(graph, config),
            opset_version=max(opset, _LEAST_OPSET),
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    if opset < _LEAST_OPSET:
        _to_opset_17(program.model)
    return program.model


def _to_opset_17(model: Any) -> None:
    """The axes of a mean became an input in 18; no other operator of the graphs changed."""
    import onnx_ir

    for node in model.graph:
        if node.op_type == "ReduceMean":
            axes = node.inputs[1].const_value.numpy().tolist()
            node.attributes.pop("noop_with_empty_axes", None)
            node.attributes["axes"] = onnx_ir.AttrInt64s("axes", axes)
            node.resize_inputs(1)
    onnx_ir.passes.common.RemoveUnusedNodesPass()(model)
    model.opset_imports[""] = 17


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of its own code, and logs what other packages are not installed."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _free_axes(graph: Graph, config: ModelConfig) -> tuple[Any, ...]:
    """The exporter's name and range for every free axis, input by input.

    Axes that were 1 long in the example cannot be told from constants: they stay so.
    """
    most = {"num_latents": config.fusion.num_latents, "num_text_tokens": config.text.max_tokens}
    dims: dict[str, Any] = {}

    def dim(word: str) -> Any:
        return dims.setdefault(word, torch.export.Dim(word, min=1, max=most.get(word)))

    shapes = [
        {
            axis: dim(word)
            for axis, word in graph.free.get(name, {}).items()
            if value.shape[axis] > 1
        }
        for name, value in graph.inputs.items()
    ]
    # The decoder's cache is `*past`: one argument.
    return (shapes[0], tuple(shapes[1:])) if graph.is_variadic else tuple(shapes)


def facts_of(config: ModelConfig, precision: str, weights_sha256: str) -> dict[str, str]:
    """What an ONNX file says of its model."""
    return {
        METADATA["config"]: json.dumps(config.to_dict(), sort_keys=True),
        METADATA["precision"]: precision,
        METADATA["weights"]: weights_sha256,
        METADATA["lengths"]: json.dumps(list(text_lengths(config))),
    }


def clean_model(model: Any, facts: dict[str, str]) -> None:
    """Leave out what the exporter notes of the machine it ran on; add what the model is."""
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
        values += node.outputs
    for value in values:
        value.metadata_props.clear()
        value.doc_string = None
        if value.const_value is not None:
            value.const_value.metadata_props.clear()
    for part in (model.graph, model):
        part.metadata_props.clear()
        part.doc_string = None
    model.producer_name, model.producer_version = "tokenfuse", None
    model.metadata_props.update(facts)


def write_model(model: Any, path: pathlib.Path) -> None:
    """Write an ONNX file, its weights in `<path>.data` beside it where they are many."""
    import onnx
    import onnx_ir

    weights = [value.const_value for value in model.graph.initializers.values()]
    is_large = sum(tensor.nbytes for tensor in weights) > _MOST_INLINE_BYTES
    onnx_ir.save(
        model,
        path,
        external_data=f"{path.name}.data" if is_large else None,
        size_threshold_bytes=_SMALL_BYTES,
    )
    # By path: the checker leaves external data where it is.
    onnx.checker.check_model(str(path))
