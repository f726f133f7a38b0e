"""The folder of a bundle: its path, and the names and kinds of what lies in it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import stat
from collections.abc import Iterator

from tokenfuse_sdk.bundle.groups import GROUP_FOLDERS, group_cap, is_group
from tokenfuse_sdk.bundle.manifest import FILE_CAPS, MANIFEST_NAME, OPTIONAL_FILES, Manifest
from tokenfuse_sdk.errors import (
    BundleFormatError,
    BundleLinkError,
    BundleMissingFileError,
    BundlePathError,
    BundleSizeError,
)

__all__ = ["check_folder", "check_group_folder", "check_groups", "check_is_folder", "folder_of"]


def folder_of(path: str | os.PathLike[str]) -> pathlib.Path:
    """The path of a bundle.

    Raises:
        BundlePathError: the empty text, which `pathlib` would take for the folder one stands in.
    """
    if not os.fspath(path):
        raise BundlePathError("the path of the bundle is empty; pass one, or '.' for this folder")
    return pathlib.Path(path)


def _unknown(path: pathlib.Path, name: str) -> BundlePathError:
    return BundlePathError(f"{path} holds {name!r}, which the format does not have; remove it")


@contextlib.contextmanager
def _opening(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BundlePathError(f"{path} cannot be opened: {error.strerror}") from error


def _entries(path: pathlib.Path) -> Iterator[os.DirEntry[str]]:
    """What lies in a folder; a link ends it."""
    with _opening(path), os.scandir(path) as entries:
        for entry in entries:
            if entry.is_symlink():
                raise BundleLinkError(f"{path / entry.name} is a link; a bundle holds plain files")
            yield entry


def check_folder(path: pathlib.Path) -> dict[str, int]:
    """A real folder that holds plain files with the format's names, and all that it must have.

    Returns:
        The files of its groups, name to size in bytes.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError as error:
        raise BundleMissingFileError(f"there is no bundle at {path}") from error
    except OSError as error:
        raise BundlePathError(f"{path} cannot be opened: {error.strerror}") from error
    if stat.S_ISLNK(mode):
        raise BundleLinkError(f"{path} is a link; give the folder itself")
    if not stat.S_ISDIR(mode):
        raise BundleFormatError(f"{path} is not a folder; a bundle is one")
    try:
        (path / MANIFEST_NAME).lstat()
    except FileNotFoundError as error:
        # Said first: what else lies in a folder that is no bundle is no business of ours.
        raise BundleMissingFileError(
            f"{path} is no bundle: it has no {MANIFEST_NAME}; pass the path of one"
        ) from error
    except OSError as error:
        raise BundlePathError(f"{path} cannot be opened: {error.strerror}") from error
    allowed = {*FILE_CAPS, MANIFEST_NAME}
    found, groups = set(), {}
    for entry in _entries(path):
        if entry.name in GROUP_FOLDERS:
            groups.update(_folders(path, entry.name))
            continue
        if entry.name not in allowed:
            raise _unknown(path, entry.name)
        if not entry.is_file(follow_symlinks=False):
            raise BundleLinkError(f"{path / entry.name} is not a plain file")
        found.add(entry.name)
    missing = sorted(allowed - OPTIONAL_FILES - found)
    if missing:
        raise BundleMissingFileError(f"{path} lacks {', '.join(missing)}")
    return groups


def _folders(path: pathlib.Path, kind: str) -> dict[str, int]:
    """The files of all groups in one of a bundle's folders of groups, name to size."""
    check_is_folder(path / kind)
    found: dict[str, int] = {}
    for entry in _entries(path / kind):
        group = f"{kind}/{entry.name}"
        if not is_group(group):
            raise _unknown(path / kind, entry.name)
        sizes = check_group_folder(path / group, group)
        found.update({f"{group}/{name}": size for name, size in sizes.items()})
    return found


def check_is_folder(path: pathlib.Path) -> None:
    """Raise BundleLinkError where a folder of groups is a link or none."""
    with _opening(path):
        mode = path.lstat().st_mode
    if not stat.S_ISDIR(mode):
        kind = "a link" if stat.S_ISLNK(mode) else "not a folder"
        raise BundleLinkError(f"{path} is {kind}; need a folder")


def check_group_folder(path: pathlib.Path, group: str) -> dict[str, int]:
    """A real folder that holds plain files with the names of a group's, at least one.

    Args:
        path: the folder, wherever it lies.
        group: the name it has in a bundle.

    Returns:
        The files, own name to size in bytes.
    """
    check_is_folder(path)
    sizes = {}
    for entry in _entries(path):
        if group_cap(f"{group}/{entry.name}") is None:
            raise _unknown(path, entry.name)
        if not entry.is_file(follow_symlinks=False):
            raise BundleLinkError(f"{path / entry.name} is not a plain file")
        sizes[entry.name] = entry.stat(follow_symlinks=False).st_size
    if not sizes:
        raise BundleMissingFileError(f"{path} is empty; remove it, or export the bundle again")
    return sizes


def check_groups(path: pathlib.Path, found: dict[str, int], manifest: Manifest) -> None:
    """Compare the files of groups that are there with those that are listed, and their sizes."""
    listed = {name: entry for name, entry in manifest.files.items() if "/" in name}
    unlisted = sorted(found.keys() - listed.keys())
    if unlisted:
        raise BundlePathError(
            f"{path / unlisted[0]} is not listed in {MANIFEST_NAME}; remove it, or export the "
            "bundle again"
        )
    for name, entry in listed.items():
        if name not in found:
            raise BundleMissingFileError(f"{path / name} is not there; export the bundle again")
        if found[name] != entry.size:
            raise BundleSizeError(
                f"{path / name} has {found[name]} bytes; {MANIFEST_NAME} says {entry.size}"
            )
