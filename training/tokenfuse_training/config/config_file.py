"""A training config from a YAML file or a recipe's name, and single values set over it."""

from __future__ import annotations

import importlib.resources
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.config.set_value import set_value
from tokenfuse_training.config.settings import nearest, read_settings, settings_values
from tokenfuse_training.config.train_config import TrainConfig
from tokenfuse_training.config.yaml_tree import load_yaml

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["config_yaml", "read_config", "recipe_names"]

_MAX_BYTES = 1 << 20


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
        sets: `path=value` each (see `set_value`), the value as YAML; the later wins.
        values: path to value as it is, over `sets`.

    Raises:
        ConfigError: names the key, what is allowed, and what may have been meant.
    """
    tree = load_yaml(_text(source), os.fspath(source))
    if not isinstance(tree, dict):
        raise ConfigError(f"{os.fspath(source)}: need keys and values at the top, as `name: mine`")
    for one in sets:
        path, equals, value = one.partition("=")
        if not equals:
            raise ConfigError(f"--set {one!r}: need key=value, as `run.device=cpu`")
        set_value(tree, path.strip(), load_yaml(value, f"--set {path}"))
    for path, given in (values or {}).items():
        set_value(tree, path, given)
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
                f"{name!r} is no recipe; {nearest(name, recipes)}choose one of "
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
