"""The ONNX graphs that engines are built from: the bundle's own, or new ones, verified."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping

from tokenfuse_sdk.bundle import Bundle
from tokenfuse_sdk.engine_key import graph_sha256
from tokenfuse_sdk.graphs import GRAPHS

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
        BundleError: the bundle's own are damaged, or hold what no graph of ours has.
        ExportError: they cannot be exported, or do not compute what the model computes.
    """
    if precision in bundle.onnx_precisions:
        return _of_bundle(bundle, precision)
    raise NotImplementedError


def _of_bundle(bundle: Bundle, precision: str) -> GraphFiles:
    group = f"onnx/{precision}"
    files = bundle.open_group(group)
    entries = bundle.manifest.files
    hashes = {}
    for graph in GRAPHS:
        name = f"{graph}.onnx"
        data = entries.get(f"{group}/{name}.data")
        hashes[graph] = graph_sha256(
            entries[f"{group}/{name}"].sha256, None if data is None else data.sha256
        )
    del files
    return GraphFiles(bundle.path / group, hashes, is_new=False)
