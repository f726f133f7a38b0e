"""The files of a bundle's group: hashed and mapped when they are asked for, and graphs checked."""

from __future__ import annotations

import pathlib
import types
from collections.abc import Mapping

from tokenfuse_sdk.bundle.files import map_file
from tokenfuse_sdk.bundle.folder import check_is_folder
from tokenfuse_sdk.bundle.groups import ONNX, check_group_name, members_of
from tokenfuse_sdk.bundle.manifest import Manifest
from tokenfuse_sdk.bundle.weights_file import WEIGHTS_NAME
from tokenfuse_sdk.errors import BundleHashError, BundleMissingFileError
from tokenfuse_sdk.graphs import METADATA
from tokenfuse_sdk.mapped_file import MappedFile
from tokenfuse_sdk.onnx_file import check_onnx_files

__all__ = ["open_group"]


def open_group(path: pathlib.Path, manifest: Manifest, group: str) -> Mapping[str, MappedFile]:
    """See `Bundle.open_group`."""
    check_group_name(group)
    groups = members_of(manifest.files)
    if group not in groups:
        raise BundleMissingFileError(
            f"{path} has no {group}, but {', '.join(groups) or 'no group at all'}; make one with "
            "`tokenfuse export` or `tokenfuse build`"
        )
    for folder in (path / group).parent, path / group:
        check_is_folder(folder)  # It may be a link since.
    files = {}
    for name in groups[group]:
        entry = manifest.files[f"{group}/{name}"]
        files[name] = map_file(path / group / name, entry.size, entry)
    if group.startswith(f"{ONNX}/"):
        _check_graphs(path / group, files, manifest.files[WEIGHTS_NAME].sha256)
    return types.MappingProxyType(files)


def _check_graphs(folder: pathlib.Path, files: Mapping[str, MappedFile], weights: str) -> None:
    facts = check_onnx_files({name: file.data for name, file in files.items()})
    said = {"precision": folder.name, "weights": weights}
    for name, fact in facts.items():
        for word, value in said.items():
            found = fact.metadata.get(METADATA[word], "")
            if found != value:
                raise BundleHashError(
                    f"{folder / name} says {METADATA[word]} {found[:64]!r}; its bundle has "
                    f"{value!r}: export the graphs again"
                )
