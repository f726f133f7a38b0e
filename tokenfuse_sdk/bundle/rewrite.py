"""A bundle made of another: some of its files are new, the others keep their bytes."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
from collections.abc import Mapping

from tokenfuse_sdk.atomic import atomic_folder
from tokenfuse_sdk.bundle.files import copy_file
from tokenfuse_sdk.bundle.manifest import (
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    file_cap,
    file_entry,
)
from tokenfuse_sdk.bundle.read import Bundle, read_bundle

__all__ = ["json_bytes", "rewrite"]


def json_bytes(value: object) -> bytes:
    """The bytes of a bundle's JSON file."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode("utf-8")


def rewrite(
    bundle: Bundle,
    target: pathlib.Path,
    *,
    contents: Mapping[str, bytes],
    groups: Mapping[str, pathlib.Path] | None = None,
    overwrite: bool,
) -> None:
    """Write `bundle` with new files to `target` in one step, after reading it back.

    What stays is linked where it replaces itself, and else copied; permissions stay. What is new
    has those of the manifest.

    Args:
        bundle: that was read.
        target: checked with `check_output`; it may be the bundle itself.
        contents: files that are new, name to bytes.
        groups: that are new, name to a folder that was checked.
        overwrite: replace what is there.
    """
    groups = groups or {}
    kept = {
        name: entry
        for name, entry in bundle.manifest.files.items()
        if name not in contents and name.rpartition("/")[0] not in groups
    }
    files = dict(kept) | {name: file_entry(data) for name, data in contents.items()}
    is_same = target.exists() and target.samefile(bundle.path)
    with atomic_folder(target, overwrite=overwrite) as folder:
        for name in {*kept, *(f"{group}/" for group in groups)}:
            (folder / name.rpartition("/")[0]).mkdir(parents=True, exist_ok=True)
        for name, entry in kept.items():
            _keep(bundle.path / name, folder / name, entry, link=is_same)
        new = [*contents, MANIFEST_NAME]
        for group, source in groups.items():
            for file in sorted(path.name for path in source.iterdir()):
                name = f"{group}/{file}"
                files[name] = copy_file(source / file, folder / name, cap=file_cap(name) or 0)
                new.append(name)
        for name, data in contents.items():
            (folder / name).write_bytes(data)
        manifest = Manifest(
            format_version=bundle.manifest.format_version,
            name=bundle.manifest.name,
            files=dict(sorted(files.items())),
        )
        (folder / MANIFEST_NAME).write_bytes(json_bytes(manifest.to_dict()))
        for name in new:
            shutil.copymode(bundle.path / MANIFEST_NAME, folder / name)
        # A file that changed meanwhile ends it here.
        written = read_bundle(folder)
        for group in groups:
            written.open_group(group)
        _folder_modes(bundle.path, folder)


def _keep(source: pathlib.Path, target: pathlib.Path, entry: FileEntry, *, link: bool) -> None:
    if link:
        try:
            os.link(source, target, follow_symlinks=False)
            return
        except OSError:
            pass  # The file system has no links, or the system allows none of another's file.
    copy_file(source, target, cap=entry.size, expected=entry)
    shutil.copymode(source, target)


def _folder_modes(source: pathlib.Path, target: pathlib.Path) -> None:
    """Folders of groups have the permissions that they had; new ones those of the bundle."""
    for folder in sorted(path for path in target.rglob("*") if path.is_dir()):
        old = source / folder.relative_to(target)
        shutil.copymode(old if old.is_dir() else source, folder)
