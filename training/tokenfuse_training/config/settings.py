"""From keys and values to the frozen dataclasses of settings, and back."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.config.data_settings import DATA_FORMATS, DataSettings, format_of
from tokenfuse_training.config.settings_checks import FieldError

__all__ = ["nearest", "read_settings", "settings_values"]

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
_FORMAT = "format"


def read_settings(kind: type[T], tree: object, where: str) -> T:
    """A dataclass of settings from what a file says.

    Args:
        kind: the dataclass.
        tree: keys and values; a key with `null` has its default.
        where: the path to it, for messages; empty at the top.

    Raises:
        ConfigError: an unknown key, one that lacks, or a value of another type or range.
    """
    tree = _mapping(tree, where)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in tree:
        if key not in fields:
            raise ConfigError(
                f"{_join(where, key)}: no such key; {nearest(key, fields)}allowed: "
                f"{', '.join(fields)}"
            )
    types_of = typing.get_type_hints(kind)
    given = {}
    for name, field in fields.items():
        # None is the default of all that may be None.
        if tree.get(name) is not None:
            given[name] = _value(types_of[name], tree[name], _join(where, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{_join(where, name)}: has no default; set it")
    try:
        return kind(**given)
    except FieldError as error:
        raise ConfigError(_join(where, error.said) if where else str(error)) from error
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}" if where else str(error)) from error


def settings_values(settings: object) -> Any:
    """All values as a file holds them; `read_settings` of it gives the same."""
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        values = {
            field.name: settings_values(getattr(settings, field.name))
            for field in dataclasses.fields(settings)
        }
        tagged = {_FORMAT: format_of(settings)} if isinstance(settings, DataSettings) else {}
        return tagged | values
    if isinstance(settings, Mapping):
        return {key: settings_values(value) for key, value in settings.items()}
    if isinstance(settings, tuple | list):
        return [settings_values(value) for value in settings]
    return settings


def nearest(name: object, known: Iterable[str]) -> str:
    """What may have been meant, for a message; empty where nothing is near."""
    near = difflib.get_close_matches(str(name), list(known), 1)
    return f"did you mean {near[0]!r}? " if near else ""


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _mapping(tree: object, where: str) -> Mapping[str, Any]:
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{where or 'the config'}={tree!r}: need keys and values")
    return tree


def _value(kind: Any, value: object, where: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        (kind,) = (part for part in typing.get_args(kind) if part is not type(None))
        return _value(kind, value, where)
    if origin is tuple:
        return _items(typing.get_args(kind)[0], value, where)
    if origin is not None:
        of = typing.get_args(kind)[1]
        # An entry that was set to null is taken away.
        return {
            name: _value(of, entry, _join(where, name))
            for name, entry in _mapping(value, where).items()
            if entry is not None
        }
    if kind is DataSettings:
        return _data(value, where)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return read_settings(kind, value, where)
    return _plain(kind, value, where)


def _items(of: Any, value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{where}={value!r}: need a list, as [...]")
    items = []
    for index, item in enumerate(value):
        name = item.get("name") if isinstance(item, Mapping) else None
        items.append(_value(of, item, _join(where, str(index if name is None else name))))
    return tuple(items)


def _data(value: object, where: str) -> DataSettings:
    tree = dict(_mapping(value, where))
    name = tree.pop(_FORMAT, None)
    if not isinstance(name, str) or name not in DATA_FORMATS:
        raise ConfigError(
            f"{where}.{_FORMAT}={name!r}: {nearest(name, DATA_FORMATS)}need one of "
            f"{', '.join(DATA_FORMATS)}"
        )
    return read_settings(DATA_FORMATS[name], tree, where)


def _plain(kind: Any, value: Any, where: str) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is Any:
        return value
    if kind is float and is_number and abs(value) < 1e300:
        return float(value)
    if kind in (str, bool, int) and isinstance(value, kind) and (kind is not int or is_number):
        return value
    # 1e5 is an integer too.
    if kind is int and is_number and value.is_integer():
        return int(value)
    words = {str: "text", bool: "true or false", int: "an integer", float: "a number"}
    raise ConfigError(f"{where}={value!r}: need {words[kind]}")
