"""Write a bundle: all of it, or nothing."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping

import numpy as np
from safetensors.numpy import save

from tokenfuse_sdk.atomic import atomic_folder, check_folder_beside, one_writer
from tokenfuse_sdk.bundle.card import files_table, rows_without, with_files_table
from tokenfuse_sdk.bundle.folder import check_group_folder, folder_of
from tokenfuse_sdk.bundle.groups import check_complete, check_group_name
from tokenfuse_sdk.bundle.manifest import MANIFEST_NAME, Manifest, file_cap, make_manifest
from tokenfuse_sdk.bundle.precisions import PRECISIONS_NAME, PrecisionRecord
from tokenfuse_sdk.bundle.read import Bundle, read_bundle, read_manifest
from tokenfuse_sdk.bundle.rewrite import json_bytes, rewrite
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import (
    BundleChangedError,
    BundleExistsError,
    BundlePathError,
    BundleSizeError,
)
from tokenfuse_sdk.preprocess import PreprocessConfig

__all__ = ["add_groups", "check_output", "check_record", "record_precisions", "write_bundle"]


def check_output(
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    source: str | os.PathLike[str] | None = None,
) -> None:
    """Check what `write_bundle` and `add_groups` check of a path: call it before long work.

    Args:
        path: the bundle to write.
        overwrite: replace a bundle that is there.
        source: the bundle that it is made of; `path` may be the same.

    Raises:
        BundlePathError: the path is empty, or one of the two bundles would lie in the other.
        BundleExistsError: the path exists, and is no bundle or `overwrite` was not given.
    """
    target = folder_of(path)
    if source is not None:
        _check_apart(target, folder_of(source))
    if not target.is_symlink() and not target.exists():
        return
    if not overwrite:
        raise BundleExistsError(f"{target} exists; pass overwrite=True or another path")
    if target.is_symlink() or not (target / MANIFEST_NAME).is_file():
        raise BundleExistsError(f"{target} is not a bundle, so it is not overwritten")


def _check_apart(target: pathlib.Path, source: pathlib.Path) -> None:
    """A bundle in another would make that one invalid: it has a closed set of files."""
    inner, outer = target.resolve(), source.resolve()
    if outer in inner.parents or inner in outer.parents:
        raise BundlePathError(
            f"{target} and the bundle {source} lie one in the other, and a bundle holds no "
            f"others; pass a path outside of {source}"
        )


def _check_caps(sizes: Mapping[str, int]) -> None:
    for name, size in sizes.items():
        cap = file_cap(name)
        assert cap is not None
        if size > cap:
            raise BundleSizeError(f"{name} has {size} bytes; at most {cap}")


def _golden_bytes(golden: Mapping[str, np.ndarray]) -> bytes:
    return save({name: np.ascontiguousarray(array) for name, array in golden.items()})


def write_bundle(
    path: str | os.PathLike[str],
    *,
    config: ModelConfig,
    preprocess: PreprocessConfig,
    tokenizer_json: str,
    weights: Mapping[str, np.ndarray],
    card: str,
    golden: Mapping[str, np.ndarray],
    overwrite: bool = False,
) -> None:
    """Write a bundle in one step, after reading it back with every check.

    Args:
        path: the folder to make.
        config: the model's shape.
        preprocess: how pictures become arrays.
        tokenizer_json: a Hugging Face `tokenizers` file.
        weights: name to float16 or float32 array, as `expected_tensors(config)` says.
        card: the model card, Markdown with front matter.
        golden: inputs and the reference's outputs, float32, int32, int64 or uint8.
        overwrite: replace a bundle that is there; anything else is never replaced.

    Raises:
        BundleExistsError: the path exists, and is no bundle or `overwrite` was not given.
        BundleError, ConfigError: what was given does not make a valid bundle; nothing is left.
    """
    target = folder_of(path)
    check_output(target, overwrite=overwrite)
    contents = {
        "README.md": card.encode("utf-8"),
        "config.json": json_bytes(config.to_dict()),
        "golden.safetensors": _golden_bytes(golden),
        "model.safetensors": save(
            # ascontiguousarray would make a scalar one-dimensional.
            {k: np.asarray(v, order="C") for k, v in weights.items()},
            metadata={"format": "pt"},
        ),
        "preprocessor_config.json": json_bytes(preprocess.to_dict()),
        "tokenizer.json": tokenizer_json.encode("utf-8"),
    }
    _check_caps({name: len(data) for name, data in contents.items()})
    manifest = make_manifest(config.name, contents)
    with atomic_folder(target, overwrite=overwrite) as folder:
        for name, data in contents.items():
            (folder / name).write_bytes(data)
        (folder / MANIFEST_NAME).write_bytes(json_bytes(manifest.to_dict()))
        read_bundle(folder)


def check_record(path: str | os.PathLike[str], *, overwrite: bool = False) -> Bundle:
    """Check what `record_precisions` checks of its path: call it before long work.

    Raises:
        BundleExistsError: it has a record, and `overwrite` was not given.
        BundlePathError: the folder that it lies in cannot be written.
        BundleError, ConfigError: it is no valid bundle.
    """
    # What is to be replaced may be damaged.
    bundle = read_bundle(path, with_record=False)
    is_there = os.path.lexists(bundle.path / PRECISIONS_NAME)
    if (is_there or PRECISIONS_NAME in bundle.manifest.files) and not overwrite:
        raise BundleExistsError(
            f"{bundle.path} has {PRECISIONS_NAME} already; pass overwrite=True to replace it"
        )
    try:
        check_folder_beside(bundle.path)
    except OSError as error:
        raise BundlePathError(
            f"{error.filename} cannot be written ({error.strerror}), and {PRECISIONS_NAME} joins "
            "a bundle by a new folder beside it; copy the bundle to where you may write"
        ) from error
    return bundle


def record_precisions(
    path: str | os.PathLike[str], record: PrecisionRecord, *, overwrite: bool = False
) -> None:
    """Put a record into a bundle in one step; every other file keeps its bytes.

    Args:
        path: the bundle.
        record: measured on its weights.
        overwrite: replace a record that is there.

    Raises:
        BundleHashError, BundleFormatError: the record is of another model.
        BundleExistsError, BundlePathError, BundleError, ConfigError: as `check_record`; nothing
            is changed.
    """
    with one_writer(folder_of(path)):
        bundle = check_record(path, overwrite=overwrite)
        # A record of another model ends where the new bundle is read.
        contents = {PRECISIONS_NAME: json_bytes(record.to_dict())}
        rewrite(bundle, bundle.path, contents=contents, overwrite=True)


def add_groups(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    groups: Mapping[str, str | os.PathLike[str]],
    *,
    golden: Mapping[str, np.ndarray] | None = None,
    card: str | None = None,
    based_on: Manifest | None = None,
    overwrite: bool = False,
) -> None:
    """Write a bundle with groups added or replaced, in one step, after reading it back.

    Args:
        source: the bundle.
        target: where the new one goes; it may be `source` itself, with `overwrite`. Whatever
            another bundle there held is gone.
        groups: "onnx/PRECISION" or "engines/TARGET-PRECISION" to a folder with the group's files
            and nothing else; they are copied.
        golden: in place of the source's.
        card: in place of the source's; without one, that loses the table's rows of the groups,
            which tell of the files that were there.
        based_on: what `target` held when the groups were begun, where it is what they are added
            to.
        overwrite: replace a bundle that is there; anything else is never replaced.

    Raises:
        BundleExistsError: the target exists, and is no bundle or `overwrite` was not given.
        BundlePathError: a group that the format does not have, or a file that the group has not;
            or the target lies in the source.
        BundleMissingFileError: a group is not complete.
        BundleHashError: graphs that were exported from other weights.
        BundleChangedError: the target is not `based_on` any more: another added to it meanwhile.
        BundleError, ConfigError: what was given does not make a valid bundle; nothing is left.
    """
    path = folder_of(target)
    check_output(path, overwrite=overwrite, source=source)
    bundle = read_bundle(source)
    folders = {}
    for group, folder in groups.items():
        check_group_name(group)
        folders[group] = folder_of(folder)
        sizes = check_group_folder(folders[group], group)
        check_complete(group, sizes, str(folder))
        _check_caps({f"{group}/{name}": size for name, size in sizes.items()})
    contents = {}
    if golden is not None:
        contents["golden.safetensors"] = _golden_bytes(golden)
    if card is None:
        rows = rows_without(bundle.card, folders)
        if len(rows) < len(files_table(bundle.card)):
            card = with_files_table(bundle.card, rows)
    if card is not None:
        contents["README.md"] = card.encode("utf-8")
    _check_caps({name: len(data) for name, data in contents.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    with one_writer(path):
        # Once more: another may have been here since.
        check_output(path, overwrite=overwrite, source=source)
        if based_on is not None and read_manifest(path) != based_on:
            raise BundleChangedError(
                f"another wrote {path} while {', '.join(folders)} was made; run it again, to add "
                "to what is there now"
            )
        rewrite(bundle, path, contents=contents, groups=folders, overwrite=overwrite)
