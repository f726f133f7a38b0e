"""The bundle that engines are built from: with the graphs that they need, verified."""

from __future__ import annotations

import pathlib

from tokenfuse_sdk.bundle import Bundle, read_bundle
from tokenfuse_sdk.engine_key import graph_sha256
from tokenfuse_sdk.graphs import GRAPHS

__all__ = ["graph_hashes", "with_graphs"]


def with_graphs(bundle: Bundle, precision: str, work: pathlib.Path) -> Bundle:
    """The bundle, where it has graphs in a precision; else one in `work` that has got them.

    Raises:
        BundleError: its own graphs are damaged, another model's, or none of ours.
        ExportError: they cannot be exported, or do not compute what the model computes.
    """
    if precision in bundle.onnx_precisions:
        bundle.open_group(f"onnx/{precision}")  # Checks all that TensorRT is about to read.
        return bundle
    # It takes PyTorch and onnx: a device builds the graphs that a bundle has without them.
    from tokenfuse_export.export import export_bundle

    return read_bundle(export_bundle(bundle.path, work / "exported", precisions=(precision,)).path)


def graph_hashes(bundle: Bundle, precision: str) -> dict[str, str]:
    """What an engine's key says of each graph."""
    files = bundle.manifest.files
    hashes = {}
    for graph in GRAPHS:
        name = f"onnx/{precision}/{graph}.onnx"
        beside = files.get(f"{name}.data")
        hashes[graph] = graph_sha256(files[name].sha256, None if beside is None else beside.sha256)
    return hashes
