"""Engines for the emulated TensorRT: ONNX graphs with the profiles that `tokenfuse build` makes."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import onnxruntime

from tokenfuse_export.tensorrt.profiles import free_sizes, profiles_of
from tokenfuse_sdk.bundle import add_groups, read_bundle
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.engine_file import EngineFile
from tokenfuse_sdk.engine_key import EngineKey, engine_group, graph_sha256, this_system
from tokenfuse_sdk.graphs import GRAPHS, text_lengths

__all__ = ["MAGIC", "add_engines", "engine_bytes", "key_of", "ranges_of"]

Shape = tuple[int, ...]
# Input to its least, usual and largest shape.
Ranges = Mapping[str, tuple[Shape, Shape, Shape]]

MAGIC = b"emulated"


def engine_bytes(
    onnx: pathlib.Path, profiles: Sequence[Ranges], *, without: Sequence[str] = ()
) -> bytes:
    """A serialised engine of a graph.

    Args:
        onnx: its file, with the weights inside.
        profiles: one or more.
        without: outputs that it shall not have.
    """
    header = json.dumps({"profiles": profiles, "without": list(without)}).encode()
    return MAGIC + len(header).to_bytes(8, "little") + header + onnx.read_bytes()


def ranges_of(
    config: ModelConfig,
    graph: str,
    onnx: pathlib.Path,
    batches: Sequence[int],
    budgets: Sequence[int],
) -> list[Ranges]:
    """The profiles that `tokenfuse build` gives an engine."""
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    found = []
    for profile in profiles_of(config, graph, batches=batches, budgets=budgets):
        sizes = free_sizes(config, profile)
        found.append(
            {
                one.name: tuple(
                    tuple(sizes[one.name][a][i] if a in sizes[one.name] else n for a, n in axes)
                    for i in range(3)
                )
                for one in session.get_inputs()
                for axes in [list(enumerate(one.shape))]
            }
        )
    return found


def key_of(bundle: Any, **changes: Any) -> EngineKey:
    """The key of emulated engines of a read bundle that has graphs in fp32."""
    system, arch = this_system()
    files = bundle.manifest.files
    fields = {
        "flavour": "tensorrt",
        "version": "10.3.0",
        "target": "sm_86",
        "os": system,
        "arch": arch,
        "precision": "fp32",
        "batches": (1, 3),
        "budgets": (2, 8),
        "text_lengths": text_lengths(bundle.config),
        "onnx_sha256": {g: graph_sha256(files[f"onnx/fp32/{g}.onnx"].sha256) for g in GRAPHS},
        "weights_sha256": bundle.digest,
    }
    return EngineKey(**(fields | changes))


def add_engines(bundle: pathlib.Path, folder: pathlib.Path, **changes: Any) -> EngineKey:
    """Put emulated engines of its graphs in fp32 into a bundle.

    Args:
        bundle: its path.
        folder: to write their files to first; made.
        changes: fields of the key that are not as `key_of` has them.
    """
    read = read_bundle(bundle)
    key = key_of(read, **changes)
    folder.mkdir()
    profiles, files = [], {}
    for graph in GRAPHS:
        onnx = bundle / "onnx" / "fp32" / f"{graph}.onnx"
        ranges = ranges_of(read.config, graph, onnx, key.batches, key.budgets)
        # The token map is left out there, too.
        unused = ["weights_BNS"] if graph == "image_encoder" else []
        data = engine_bytes(onnx, ranges, without=unused)
        (folder / f"{graph}.engine").write_bytes(data)
        files[graph] = len(data), hashlib.sha256(data).hexdigest()
        profiles += profiles_of(read.config, graph, batches=key.batches, budgets=key.budgets)
    engine_file = EngineFile(key=key, profiles=tuple(profiles), files=files)
    (folder / "engine.json").write_bytes(engine_file.to_json())
    (folder / "report.json").write_bytes(b"{}\n")
    group = engine_group(key.target, key.precision)
    add_groups(bundle, bundle, {group: folder}, overwrite=True)
    return key
