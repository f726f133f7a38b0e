"""The folder of a bundle: its path, and the names and kinds of what lies in it."""

from __future__ import annotations

import os
import pathlib
import stat

from tokenfuse_sdk.bundle.manifest import FILE_CAPS, MANIFEST_NAME, OPTIONAL_FILES
from tokenfuse_sdk.errors import (
    BundleFormatError,
    BundleLinkError,
    BundleMissingFileError,
    BundlePathError,
)

__all__ = ["check_folder", "folder_of"]


def folder_of(path: str | os.PathLike[str]) -> pathlib.Path:
    """The path of a bundle.

    Raises:
        BundlePathError: the empty text, which `pathlib` would take for the folder one stands in.
    """
    if not os.fspath(path):
        raise BundlePathError("the path of the bundle is empty; pass one, or '.' for this folder")
    return pathlib.Path(path)


def check_folder(path: pathlib.Path) -> None:
    """A real folder that holds plain files with the format's names, and all of them."""
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
    found = set()
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_symlink():
                raise BundleLinkError(f"{path / entry.name} is a link; a bundle holds plain files")
            if entry.name not in allowed:
                raise BundlePathError(
                    f"{path} holds {entry.name!r}, which the format does not have; remove it"
                )
            if not entry.is_file(follow_symlinks=False):
                raise BundleLinkError(f"{path / entry.name} is not a plain file")
            found.add(entry.name)
    missing = sorted(allowed - OPTIONAL_FILES - found)
    if missing:
        raise BundleMissingFileError(f"{path} lacks {', '.join(missing)}")
