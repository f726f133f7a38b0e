"""What every dataclass of settings checks of its values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from tokenfuse_sdk.bundle import MAX_SEED
from tokenfuse_sdk.errors import ConfigError

__all__ = ["FieldError", "need", "need_counts", "need_names", "need_seed", "need_within"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class FieldError(ConfigError):
    """A wrong field of an owner.

    Who read the owner from a file knows its place there, and names that in the owner's place.

    Args:
        owner: what the field is of; empty at the top.
        said: field, value and what is wrong, as `steps=0: need ...`.
    """

    def __init__(self, owner: str, said: str) -> None:
        super().__init__(f"{owner}.{said}" if owner else said)
        self.said = said


def need(ok: bool, owner: str, name: str, value: object, allowed: str) -> None:
    """Raise a FieldError that tells value and what is allowed, unless it is so."""
    if not ok:
        raise FieldError(owner, f"{name}={value!r}: need {allowed}")


def need_counts(owner: object, where: str, *names: str, low: int = 1) -> None:
    """Of `owner`, these fields are integers of at least `low`."""
    for name in names:
        value = getattr(owner, name)
        need(_is_int(value) and value >= low, where, name, value, f"an integer of at least {low}")


def need_seed(owner: object, where: str) -> None:
    """`seed` of `owner` is one that all generators take."""
    value = owner.seed
    ok = _is_int(value) and 0 <= value <= MAX_SEED
    need(ok, where, "seed", value, f"an integer from 0 to {MAX_SEED}")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def need_within(owner: object, where: str, name: str, low: float, high: float) -> None:
    """Of `owner`, this field is a finite number in the range."""
    value = getattr(owner, name)
    ok = isinstance(value, float) and math.isfinite(value) and low <= value <= high
    need(ok, where, name, value, f"a number from {low:g} to {high:g}")


def need_names(where: str, values: Mapping[str, Any], field: str = "name") -> None:
    """All keys can be parts of a file name and of a path with dots."""
    for name in values:
        ok = isinstance(name, str) and _NAME.fullmatch(name) is not None
        need(ok, where, field, name, "lower-case letters, digits, `_`, `.` and `-`, at most 64")
