"""The graphs that engines are built from: verified, and where nobody can exchange them."""

from __future__ import annotations

import dataclasses
import pathlib

from tokenfuse_export.tensorrt.proof import doubt_of_graphs
from tokenfuse_sdk.bundle import Bundle, read_bundle
from tokenfuse_sdk.bundle.files import copy_file
from tokenfuse_sdk.engine_key import graph_sha256
from tokenfuse_sdk.graphs import GRAPHS

__all__ = ["Source", "graph_hashes", "with_graphs"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a build begins.

    Attributes:
        bundle: that has the graphs.
        folder: with `<graph>.onnx`, and nothing but what belongs to them.
        doubt: why they were not verified; None where they were.
    """

    bundle: Bundle
    folder: pathlib.Path
    doubt: str | None = None


def with_graphs(bundle: Bundle, precision: str, work: pathlib.Path) -> Source:
    """The bundle and its graphs in a precision; where it has none, one in `work` that has got them.

    Args:
        bundle: that was read.
        precision: of the graphs.
        work: a folder of one's own, for copies.

    Raises:
        BundleError: its own graphs are damaged, another model's, or none of ours.
        ExportError: they cannot be exported, or do not compute what the model computes.
    """
    group = f"onnx/{precision}"
    if precision in bundle.onnx_precisions:
        folder = work / "graphs"
        _copy(bundle, group, folder)
        doubt = doubt_of_graphs(bundle, folder, precision)
        return Source(bundle=bundle, folder=folder, doubt=doubt)
    # It takes PyTorch and onnx: a device builds the graphs that a bundle has without them.
    from tokenfuse_export.export import export_bundle

    exported = export_bundle(bundle.path, work / "exported", precisions=(precision,)).path
    return Source(bundle=read_bundle(exported), folder=exported / group)


def _copy(bundle: Bundle, group: str, folder: pathlib.Path) -> None:
    """TensorRT reads files by their names, long after they were checked: what it reads is ours."""
    folder.mkdir()
    for name in bundle.open_group(group):
        file = f"{group}/{name}"
        entry = bundle.manifest.files[file]
        copy_file(bundle.path / file, folder / name, cap=entry.size, expected=entry)


def graph_hashes(bundle: Bundle, precision: str) -> dict[str, str]:
    """What an engine's key says of each graph."""
    files = bundle.manifest.files
    hashes = {}
    for graph in GRAPHS:
        name = f"onnx/{precision}/{graph}.onnx"
        beside = files.get(f"{name}.data")
        hashes[graph] = graph_sha256(files[name].sha256, None if beside is None else beside.sha256)
    return hashes
