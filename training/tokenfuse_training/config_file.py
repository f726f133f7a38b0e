"""A training config from a YAML file or a recipe's name, and single values set over it."""

from __future__ import annotations

import difflib
import importlib.resources
import math
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.settings import read_settings, settings_values
from tokenfuse_training.train_config import TrainConfig

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["config_yaml", "read_config", "recipe_names"]

_MAX_BYTES = 1 << 20
# What aliases may unfold to.
_MAX_VALUES = 100_000
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*)(\.[0-9_]*)?([eE][-+]?[0-9]+)\Z")


def _recipes() -> dict[str, Traversable]:
    folder = importlib.resources.files("tokenfuse_training") / "recipes"
    files = [file for file in folder.iterdir() if file.name.endswith(".yaml")]
    return {file.name.removesuffix(".yaml"): file for file in sorted(files, key=lambda f: f.name)}


def recipe_names() -> tuple[str, ...]:
    """Recipes that come with the package."""
    return tuple(_recipes())


def read_config(
    source: str | os.PathLike[str],
    sets: Sequence[str] = (),
    *,
    values: Mapping[str, object] | None = None,
) -> TrainConfig:
    """A config with every key checked.

    Args:
        source: the name of a recipe, or a YAML file (a name that ends in .yaml or .yml, or any
            path with a folder in it).
        sets: `path=value` each, as `stages.finetune.steps=100`: a part of a list is told by its
            number or its name; the value is YAML; the later wins. `null` takes an entry of
            a list or of named things away, and gives any other key its default.
        values: path to value as it is, over `sets`.

    Raises:
        ConfigError: names the key, what is allowed, and what may have been meant.
    """
    tree = _load(_text(source), os.fspath(source))
    if not isinstance(tree, dict):
        raise ConfigError(f"{os.fspath(source)}: need keys and values at the top, as `name: mine`")
    for one in sets:
        path, equals, value = one.partition("=")
        if not equals:
            raise ConfigError(f"--set {one!r}: need key=value, as `run.device=cpu`")
        _set(tree, path.strip(), _load(value, f"--set {path}"))
    for path, given in (values or {}).items():
        _set(tree, path, given)
    return read_settings(TrainConfig, tree, "")


def config_yaml(config: TrainConfig) -> str:
    """A config in full, as a file that `read_config` reads to the same."""
    import yaml

    text: str = yaml.dump(
        settings_values(config), Dumper=yaml.SafeDumper, sort_keys=False, allow_unicode=True
    )
    return text


def _text(source: str | os.PathLike[str]) -> str:
    name = os.fspath(source)
    is_path = not isinstance(source, str) or os.sep in name or name.endswith((".yaml", ".yml"))
    if not is_path:
        recipes = _recipes()
        if name not in recipes:
            raise ConfigError(
                f"{name!r} is no recipe{_meant(name, recipes)}; choose one of "
                f"{', '.join(recipes)}, or pass a file that ends in .yaml"
            )
        return recipes[name].read_text(encoding="utf-8")
    path = pathlib.Path(name)
    if not path.is_file():
        raise ConfigError(f"{name}: there is no such file; recipes are {', '.join(_recipes())}")
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{name}: more than {_MAX_BYTES:,} bytes; a config is some kilobytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: need UTF-8 text ({error})") from error


def _load(text: str, where: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML that refuses a key twice, and reads 1e-3 as the number it is."""

        def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
            node = super().compose_mapping_node(anchor)
            seen: list[Any] = []
            for key, _ in node.value:
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise ConfigError(f"{where}, line {line}: {key.value!r} twice; keep one")
                seen.append(key.value)
            return node

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))
    try:
        tree = yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not YAML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{where}: nested too deep") from error
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{where}: {error}") from error
    _check(tree, where)
    return tree


def _check(tree: object, where: str) -> None:
    """Only what JSON has too, finite, and of a size that a config has."""
    left, stack = _MAX_VALUES, [tree]
    while stack:
        value = stack.pop()
        left -= 1
        if left < 0:
            raise ConfigError(f"{where}: more than {_MAX_VALUES:,} values; a config has dozens")
        if isinstance(value, dict):
            wrong = next((key for key in value if not isinstance(key, str)), None)
            if wrong is not None:
                raise ConfigError(f"{where}: the key {wrong!r} is no text; put it in quotes")
            stack += value.values()
        elif isinstance(value, list):
            stack += value
        elif not (value is None or isinstance(value, str | bool | int | float)):
            raise ConfigError(
                f"{where}: {value!r} is a {type(value).__name__}; put it in quotes if it is text"
            )
        elif isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{where}: {value!r} is no finite number")


def _set(tree: dict[str, Any], path: str, value: object) -> None:
    """Set one value; what is on the way and not there is made."""
    at: Any = tree
    names = path.split(".")
    done: list[str] = []
    while True:
        if not names or "" in names:
            raise ConfigError(f"--set {path!r}: need names with dots between them, as run.device")
        if isinstance(at, list):
            key: Any = _place(at, names[0], ".".join(done))
            used = 1
        elif isinstance(at, dict):
            # A name may have dots: the longest that is there.
            used = next((n for n in range(len(names), 0, -1) if ".".join(names[:n]) in at), 1)
            key = ".".join(names[:used])
        else:
            raise ConfigError(
                f"--set {path}: {'.'.join(done)} is {at!r}, in which there is no {names[0]!r}"
            )
        done += names[:used]
        names = names[used:]
        if not names:
            break
        if isinstance(at, dict) and at.get(key) is None:
            at[key] = {}
        at = at[key]
    if isinstance(at, list) and value is None:
        del at[key]
    else:
        at[key] = value


def _place(items: Sequence[Any], name: str, where: str) -> int:
    own = [item.get("name") if isinstance(item, dict) else None for item in items]
    if name in own:
        return own.index(name)
    if name.isdecimal() and int(name) < len(items):
        return int(name)
    known = [n for n in own if isinstance(n, str)]
    raise ConfigError(
        f"--set {where}.{name}: choose one of {', '.join(known)}, or 0 to {len(items) - 1}"
        + _meant(name, known)
    )


def _meant(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""
