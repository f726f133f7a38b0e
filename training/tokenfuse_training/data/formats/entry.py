"""Fields of one entry of a data set: of the right type, or a BadRecordError that says which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenfuse_training.errors import BadRecordError

__all__ = ["need_id", "need_name", "need_object", "need_text", "plain_text"]

_MAX_ID = 2**53


def _found(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def need_object(value: object) -> Mapping[str, Any]:
    """An object."""
    if not isinstance(value, dict):
        raise BadRecordError(f"need an object, found {_found(value)}")
    return value


def need_id(entry: Mapping[str, Any], field: str) -> int:
    """A whole number from 0."""
    value = entry.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MAX_ID:
        raise BadRecordError(_message(entry, field, "a whole number from 0"))
    return value


def need_text(entry: Mapping[str, Any], field: str) -> str:
    """Text that is not empty, without the space around it."""
    text = plain_text(entry.get(field))
    if not text:
        raise BadRecordError(_message(entry, field, "text that is not empty"))
    return text


def need_name(entry: Mapping[str, Any], field: str) -> str:
    """Text that is not empty, as it stands: part of a file's name, or an id."""
    value = entry.get(field)
    if not plain_text(value):
        raise BadRecordError(_message(entry, field, "text that is not empty"))
    return str(value)


def plain_text(value: object) -> str | None:
    """Text without the space around it; None for what is no text that UTF-8 has."""
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair, as "\\ud800" in JSON.
        return None
    return value.strip()


def _message(entry: Mapping[str, Any], field: str, allowed: str) -> str:
    if field not in entry:
        return f"has no {field!r}; need {allowed}"
    return f"{field}: need {allowed}, found {_found(entry[field])}"
