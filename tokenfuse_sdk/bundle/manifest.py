"""manifest.json: what a bundle holds, with sizes and hashes."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from tokenfuse_sdk.bundle.groups import ENGINES, ONNX, check_complete, group_cap, members_of
from tokenfuse_sdk.bundle.precisions import PRECISIONS_NAME
from tokenfuse_sdk.errors import (
    BundleFormatError,
    BundleMissingFileError,
    BundlePathError,
    BundleSizeError,
    BundleVersionError,
)
from tokenfuse_sdk.strict_json import parse_object

__all__ = [
    "FILE_CAPS",
    "FORMAT_VERSION",
    "MANIFEST_NAME",
    "OPTIONAL_FILES",
    "FileEntry",
    "Manifest",
    "file_cap",
    "file_entry",
    "make_manifest",
    "parse_manifest",
]

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"

_MEGA = 1 << 20
# The names a bundle of format 1 may have, its groups aside, with the most bytes of each. The base
# model has 1.4 GB of float32 weights; a 1-million-word tokenizer takes about 60 MB.
FILE_CAPS: Mapping[str, int] = {
    "README.md": _MEGA,
    "config.json": _MEGA,
    "golden.safetensors": 64 * _MEGA,
    "model.safetensors": 8192 * _MEGA,
    PRECISIONS_NAME: _MEGA >> 4,
    "preprocessor_config.json": _MEGA,
    "tokenizer.json": 64 * _MEGA,
}
# It must have all others.
OPTIONAL_FILES = frozenset({PRECISIONS_NAME})
MANIFEST_CAP = _MEGA
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """Size in bytes and sha256 (hex) of a file."""

    size: int
    sha256: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Format version, model name, and every other file of the folder."""

    format_version: int
    name: str
    files: Mapping[str, FileEntry]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return dataclasses.asdict(self)


def file_cap(name: str) -> int | None:
    """The most bytes of a file; None for a name that the format does not have."""
    return FILE_CAPS.get(name) or group_cap(name)


def file_entry(data: bytes) -> FileEntry:
    """The entry of a file that holds `data`."""
    return FileEntry(size=len(data), sha256=hashlib.sha256(data).hexdigest())


def make_manifest(name: str, contents: Mapping[str, bytes]) -> Manifest:
    """The manifest of files given as name to bytes."""
    files = {file: file_entry(data) for file, data in sorted(contents.items())}
    return Manifest(format_version=FORMAT_VERSION, name=name, files=files)


def _check_name(name: str) -> None:
    bad = not name or "\\" in name or "\0" in name or name.startswith("/") or ":" in name
    if bad or any(part in ("", ".", "..") for part in name.split("/")):
        raise BundlePathError(
            f"{MANIFEST_NAME} lists {name!r}; names must stay inside the bundle's folder"
        )
    if file_cap(name) is None:
        raise BundlePathError(
            f"{MANIFEST_NAME} lists {name!r}; format {FORMAT_VERSION} has only "
            f"{', '.join(FILE_CAPS)}, and the graphs and engines of {ONNX} and {ENGINES}"
        )


def _parse_entry(name: str, value: object) -> FileEntry:
    where = f"{MANIFEST_NAME}: {name!r}"
    if not isinstance(value, dict) or set(value) != {"size", "sha256"}:
        raise BundleFormatError(f"{where} needs exactly size and sha256")
    size, sha256 = value["size"], value["sha256"]
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise BundleFormatError(f"{where} has size {size!r}; need bytes as an integer")
    cap = file_cap(name)
    assert cap is not None
    if size > cap:
        raise BundleSizeError(f"{where} has {size} bytes; at most {cap}")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise BundleFormatError(f"{where} has no valid sha256: {sha256!r}")
    return FileEntry(size=size, sha256=sha256)


def parse_manifest(data: bytes) -> Manifest:
    """Parse and check a manifest.

    Raises:
        BundleVersionError: another format version.
        BundlePathError: a name that is not one of the format's.
        BundleSizeError: a size over its cap.
        BundleMissingFileError: a file of the format, or of a group, is not listed.
        BundleFormatError: anything else.
    """
    value = parse_object(data, MANIFEST_NAME)
    version = value.get("format_version")
    if isinstance(version, bool) or version != FORMAT_VERSION:
        raise BundleVersionError(
            f"{MANIFEST_NAME} has format_version {version!r}; this SDK reads {FORMAT_VERSION}. "
            "Install the SDK that wrote the bundle, or export the model again"
        )
    if set(value) != {"format_version", "name", "files"}:
        raise BundleFormatError(f"{MANIFEST_NAME} needs exactly format_version, name and files")
    name, files = value["name"], value["files"]
    if not isinstance(name, str) or not 0 < len(name) <= 64 or not isinstance(files, dict):
        raise BundleFormatError(f"{MANIFEST_NAME} needs a name as text and files as an object")
    entries = {}
    for file, entry in files.items():
        _check_name(file)
        entries[file] = _parse_entry(file, entry)
    missing = sorted(set(FILE_CAPS) - OPTIONAL_FILES - set(entries))
    if missing:
        raise BundleMissingFileError(f"{MANIFEST_NAME} does not list {', '.join(missing)}")
    for group, members in members_of(entries).items():
        check_complete(group, members, MANIFEST_NAME)
    return Manifest(format_version=FORMAT_VERSION, name=name, files=entries)
