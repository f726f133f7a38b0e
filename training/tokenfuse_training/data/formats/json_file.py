"""Large JSON files read one element at a time: memory for what is kept, not for the file.

Strict: UTF-8, no key twice, no NaN or infinity, nothing behind the end.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Collection, Mapping
from typing import Any, BinaryIO

from tokenfuse_sdk.plain_file import PlainFileError, open_plain_file
from tokenfuse_training.data.formats.json_text import (
    DECODER,
    MAX_ELEMENT_CHARS,
    REFUSED,
    JsonText,
    why,
)
from tokenfuse_training.errors import DataError

__all__ = ["MAX_FILE_BYTES", "JsonFile", "read_json", "read_json_lines"]

# The annotations of VQA v2.0 have 400 MB, the largest files of GQA some times that.
MAX_FILE_BYTES = 4 << 30


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JsonFile:
    """What was read.

    Args:
        sha256: of the file.
        fields: those of the top level that were to be kept.
        counts: how many elements each array had; one that is not there lacks.
    """

    sha256: str
    fields: Mapping[str, Any]
    counts: Mapping[str, int]


def read_json(
    path: str,
    *,
    each: Mapping[str, Callable[[int, Any], None]] | None = None,
    keep: Collection[str] = (),
    each_field: Callable[[str, Any], None] = lambda key, value: None,
    seen: set[str] | None = None,
) -> JsonFile:
    """Read a file that holds an object.

    Args:
        path: where it is.
        each: names of arrays in that object, to what is called with the number and value of
            every element.
        keep: fields to keep.
        each_field: called with the key and value of every other field.
        seen: keys that were in files before, and may not come again; None for none.

    Raises:
        DataError: it cannot be read, or is not such a file.
    """
    each = each or {}
    seen = set() if seen is None else seen
    fields: dict[str, Any] = {}
    counts: dict[str, int] = {}
    with _open(path) as file:
        text = JsonText(path, file)
        text.take("{", "an object")
        for key in text.object_keys():
            if key in seen:
                raise DataError(f"{path} has the key {key!r}, which was there before; keep one")
            seen.add(key)
            if key in each:
                counts[key] = text.elements(key, each[key])
            elif key in keep:
                fields[key] = text.value()
            else:
                each_field(key, text.value())
        text.end()
        return JsonFile(sha256=text.sha256.hexdigest(), fields=fields, counts=counts)


def read_json_lines(path: str, each: Callable[[int, Any], None]) -> str:
    """Read a file with one JSON value a line; empty lines are passed over.

    Args:
        path: where it is.
        each: called with the number of every line, from 1, and its value.

    Returns:
        sha256 of the file.

    Raises:
        DataError: it cannot be read, or a line is not JSON.
    """
    sha256 = hashlib.sha256()
    number = 0
    with _open(path) as file:
        while line := file.readline(MAX_ELEMENT_CHARS + 1):
            sha256.update(line)
            number += 1
            where = f"{path}, line {number},"
            if len(line) > MAX_ELEMENT_CHARS:
                raise DataError(f"{where} has more than {MAX_ELEMENT_CHARS} bytes; refused")
            if not line.strip():
                continue
            try:
                text = line.decode("utf-8").strip()
                value, end = DECODER.raw_decode(text)
            except REFUSED as error:
                raise DataError(f"{where} {why(error)}") from error
            if end != len(text):
                raise DataError(f"{where} holds more behind its value")
            each(number, value)
    return sha256.hexdigest()


def _open(path: str) -> BinaryIO:
    try:
        descriptor, _ = open_plain_file(path, max_bytes=MAX_FILE_BYTES)
    except PlainFileError as error:
        raise DataError(f"{error}; give a published file") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path} cannot be read: {reason}") from error
    return os.fdopen(descriptor, "rb")
