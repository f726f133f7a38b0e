"""Strict JSON: no duplicate keys, no NaN, capped nesting; an object at the top."""

from __future__ import annotations

import json
from typing import Any

from tokenfuse_sdk.errors import BundleFormatError

__all__ = ["MAX_DEPTH", "parse_object"]

# The deepest file of a bundle is tokenizer.json, with less than 10 levels.
MAX_DEPTH = 64

_NO_MARKS = bytes(set(range(256)) - set(b'"[]{}'))


def parse_object(data: bytes, name: str) -> dict[str, Any]:
    """Parse the bytes of the file `name`.

    Raises:
        BundleFormatError: not UTF-8, not JSON, not an object, a key twice, NaN or
            infinity, or nested too deeply.
    """
    if _depth(data) > MAX_DEPTH:
        raise BundleFormatError(f"{name} nests deeper than {MAX_DEPTH} levels; refused")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in items:
            if key in found:
                raise BundleFormatError(f"{name} has the key {key!r} twice; keep one")
            found[key] = value
        return found

    def constant(text: str) -> Any:
        raise BundleFormatError(f"{name} holds {text}, which JSON does not have")

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    except UnicodeDecodeError as error:
        raise BundleFormatError(f"{name} is not UTF-8: {error}") from error
    except json.JSONDecodeError as error:
        raise BundleFormatError(f"{name} is not JSON: {error}") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, BundleFormatError):
            raise
        # For example an integer of more than 4,300 digits.
        raise BundleFormatError(f"{name} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise BundleFormatError(f"{name} holds a {type(value).__name__}; need an object")
    return value


def _depth(data: bytes) -> int:
    """Deepest nesting, brackets inside strings not counted; found before parsing recurses."""
    depth = deepest = 0
    in_string = False
    # What is escaped ends no string; nothing else matters but quotes and brackets.
    for byte in data.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NO_MARKS):
        if byte == 0x22:
            in_string = not in_string
        elif in_string:
            continue
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest
