"""One graph as an ONNX model: the call of the exporter, and what it leaves behind cleaned up."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from tokenfuse_export.graphs import Graph

__all__ = ["clean_proto", "export_graph"]


def export_graph(graph: Graph, opset: int) -> Any:
    """The graph as an ONNX model."""
    lengths = {
        name: {axis: torch.export.Dim(word, min=1) for axis, word in axes.items()}
        for name, axes in graph.free.items()
    }
    # Axes that were 1 long in the example cannot be told from constants: they stay so.
    shapes = [
        {axis: dim for axis, dim in lengths.get(name, {}).items() if value.shape[axis] > 1}
        for name, value in graph.inputs.items()
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph.module,
            tuple(graph.inputs.values()),
            input_names=list(graph.inputs),
            output_names=[graph.output],
            dynamic_shapes=shapes,
            opset_version=opset,
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def clean_proto(proto: Any, facts: dict[str, str]) -> None:
    """Leave out what the exporter notes of the machine it ran on; add what the model is."""
    from onnx import helper

    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for part in (proto.graph.value_info, proto.graph.input, proto.graph.output):
        for value in part:
            del value.metadata_props[:]
            value.doc_string = ""
    for tensor in proto.graph.initializer:
        del tensor.metadata_props[:]
        tensor.doc_string = ""
    del proto.graph.metadata_props[:]
    del proto.metadata_props[:]
    proto.graph.doc_string = proto.doc_string = ""
    proto.producer_name, proto.producer_version = "tokenfuse", ""
    helper.set_model_props(proto, facts)
