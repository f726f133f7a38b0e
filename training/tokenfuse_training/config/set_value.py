"""One value of a config, set by a path with dots."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.config.settings import nearest

__all__ = ["set_value"]

_EVERY = "*"


def set_value(tree: dict[str, Any], path: str, value: object) -> None:
    """Set a value in what a file holds; keys on the way that are not there are made.

    Args:
        tree: is changed.
        path: as `stages.finetune.steps`: an entry of a list is told by its number or its name,
            and `*` is every entry that is there (`data.*.root`).
        value: `None` takes an entry of a list or of named things away, and gives any other key
            its default.

    Raises:
        ConfigError: the path leads nowhere.
    """
    names = path.split(".")
    if "" in names:
        raise ConfigError(f"--set {path!r}: need names with dots between them, as run.device")
    _set(tree, names, value, path, "")


def _set(at: Any, names: Sequence[str], value: object, path: str, done: str) -> None:
    keys: list[Any]
    if not isinstance(at, dict | list):
        raise ConfigError(f"--set {path}: {done} is {at!r}, in which there is no {names[0]!r}")
    if names[0] == _EVERY:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))[::-1]
        if not keys:
            raise ConfigError(f"--set {path}: {done or 'the config'} has no entries")
        used = 1
    elif isinstance(at, list):
        keys, used = [_place(at, names[0], done)], 1
    else:
        # A name may have dots: the longest that is there.
        used = next((n for n in range(len(names), 0, -1) if ".".join(names[:n]) in at), 1)
        keys = [".".join(names[:used])]
    for key in keys:
        if len(names) > used:
            if isinstance(at, dict) and at.get(key) is None:
                at[key] = {}
            _set(at[key], names[used:], value, path, f"{done}.{key}" if done else str(key))
        elif isinstance(at, list) and value is None:
            del at[key]
        else:
            # With `*` there are several, which later ones may set apart.
            at[key] = copy.deepcopy(value)


def _place(items: Sequence[Any], name: str, where: str) -> int:
    own = [item.get("name") if isinstance(item, dict) else None for item in items]
    if name in own:
        return own.index(name)
    if name.isdecimal() and int(name) < len(items):
        return int(name)
    known = [n for n in own if isinstance(n, str)]
    raise ConfigError(
        f"--set {where}.{name}: {nearest(name, known)}choose one of {', '.join(known)}, or 0 to "
        f"{len(items) - 1}"
    )
