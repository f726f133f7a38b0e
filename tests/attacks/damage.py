"""How the attacks damage a bundle: the manifest agrees, as an attacker can compute hashes too."""

from __future__ import annotations

import hashlib
import json
import pathlib
import struct
from collections.abc import Callable
from typing import Any

from safetensors.numpy import load, save

__all__ = [
    "GOLDEN",
    "WEIGHTS",
    "change",
    "change_header",
    "change_json",
    "change_manifest",
    "change_weights",
]

WEIGHTS = "model.safetensors"
GOLDEN = "golden.safetensors"

Edit = Callable[[Any], object]


def change(bundle: pathlib.Path, name: str, data: bytes) -> None:
    """Replace a file, and its size and hash in the manifest."""
    (bundle / name).write_bytes(data)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def change_manifest(bundle: pathlib.Path, edit: Edit) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    edit(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def change_json(bundle: pathlib.Path, name: str, edit: Edit) -> None:
    value = json.loads((bundle / name).read_text())
    edit(value)
    change(bundle, name, json.dumps(value).encode())


def change_header(bundle: pathlib.Path, edit: Edit) -> None:
    data = (bundle / WEIGHTS).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    edit(header)
    text = json.dumps(header).encode()
    change(bundle, WEIGHTS, struct.pack("<Q", len(text)) + text + data[8 + length :])


def change_weights(bundle: pathlib.Path, edit: Edit) -> None:
    arrays = load((bundle / WEIGHTS).read_bytes())
    edit(arrays)
    change(bundle, WEIGHTS, save(arrays))
