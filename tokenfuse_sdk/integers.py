"""What counts as an integer argument: anything with `__index__`, so NumPy's too, but no bool."""

from __future__ import annotations

import operator
from typing import Any

from tokenfuse_sdk.errors import ConfigError

__all__ = ["as_integer", "checked_int", "integer_in"]


def as_integer(value: Any) -> int | None:
    """The int that `value` is, or None where it is none: a float, a bool, a text, an array."""
    # NumPy's and PyTorch's truth values have `__index__` too; neither is imported for that.
    if isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool"):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def integer_in(value: Any, low: int, high: int) -> int | None:
    """The same, and None where it is below `low` or above `high`."""
    number = as_integer(value)
    return number if number is not None and low <= number <= high else None


def checked_int(name: str, value: Any, low: int, high: int) -> int:
    """The same, for an argument or a field of a config.

    Raises:
        ConfigError: it is none, or out of range.
    """
    number = integer_in(value, low, high)
    if number is None:
        raise ConfigError(f"{name}={value!r}: need an integer from {low} to {high}")
    return number
