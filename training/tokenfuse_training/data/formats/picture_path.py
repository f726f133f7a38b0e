"""Where the picture of a record lies: inside the data set's folder, or it is refused."""

from __future__ import annotations

import os
import stat

from tokenfuse_training.errors import BadRecordError, DataError

__all__ = ["find_picture", "picture_folder"]


def picture_folder(path: str) -> str:
    """The folder itself, which may be a link.

    Raises:
        DataError: there is no such folder.
    """
    if not os.path.isdir(path):
        raise DataError(f"{path} is no folder; `images` names the one that holds the pictures")
    return os.path.realpath(path)


def find_picture(folder: str, name: str) -> str:
    """The path of a picture.

    Args:
        folder: from `picture_folder`.
        name: what the data set calls it: a name, or a path below the folder.

    Raises:
        BadRecordError: it is not there, is no plain file, or leads out of the folder.
    """
    if "\0" in name or os.path.isabs(name) or ".." in name.replace("\\", "/").split("/"):
        raise BadRecordError(f"the picture {name!r} leads out of {folder}; need a name inside it")
    path = os.path.join(folder, name)
    try:
        status = os.lstat(path)
        # Only what may be a link is followed to its end: that takes a look at every part.
        if not stat.S_ISREG(status.st_mode) or os.path.dirname(name):
            real = os.path.realpath(path, strict=True)
            if os.path.commonpath((folder, real)) != folder:
                raise BadRecordError(f"{path} is a link out of {folder}; copy the picture there")
            status = os.stat(real)
    except OSError as error:
        raise BadRecordError(f"the picture {path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise BadRecordError(f"the picture {path} is no plain file")
    return path
