"""The ONNX graphs that engines are built from: the bundle's own, or new ones, verified."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping

from tokenfuse_sdk.bundle import Bundle
from tokenfuse_sdk.engine_key import graph_sha256
from tokenfuse_sdk.graphs import GRAPHS
from tokenfuse_sdk.mapped_file import map_plain_file

__all__ = ["GraphFiles", "graph_files"]


@dataclasses.dataclass(frozen=True, slots=True)
class GraphFiles:
    """A folder with the three graphs.

    Attributes:
        folder: where they are.
        sha256: graph to what an engine's key says of it.
        is_new: whether they were exported now, and are to join the bundle.
    """

    folder: pathlib.Path
    sha256: Mapping[str, str]
    is_new: bool


def graph_files(bundle: Bundle, precision: str, work: pathlib.Path) -> GraphFiles:
    """The graphs of a bundle in a precision; where it has none, they are exported into `work`.

    Raises:
        BundleError: the bundle's own are damaged, another model's, or none of ours.
        ExportError: they cannot be exported, or do not compute what the model computes.
    """
    group = f"onnx/{precision}"
    if precision in bundle.onnx_precisions:
        files = bundle.open_group(group)
        hashes = {name: file.sha256 for name, file in files.items()}
        return GraphFiles(bundle.path / group, _by_graph(hashes), is_new=False)
    # What only exporting needs: a Jetson builds the graphs that a bundle has without it.
    from tokenfuse_export.to_onnx import export_onnx

    folder = export_onnx(bundle.path, work / "onnx", precisions=(precision,)).folder / precision
    hashes = {
        path.name: map_plain_file(path, max_bytes=path.stat().st_size).sha256
        for path in folder.iterdir()
    }
    return GraphFiles(folder, _by_graph(hashes), is_new=True)


def _by_graph(hashes: Mapping[str, str]) -> dict[str, str]:
    return {
        graph: graph_sha256(hashes[f"{graph}.onnx"], hashes.get(f"{graph}.onnx.data"))
        for graph in GRAPHS
    }
