"""From YAML to plain values that share nothing, of a size and depth that a config has."""

from __future__ import annotations

import math
import re
from typing import Any

from tokenfuse_sdk.errors import ConfigError

__all__ = ["load_yaml"]

# What aliases and `<<` may unfold to.
_MAX_VALUES = 100_000
_MAX_DEPTH = 32
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*)(\.[0-9_]*)?([eE][-+]?[0-9]+)\Z")
# The usual reason: `[a-{0..3}.tar]`, or `a: b`, meant as text.
_QUOTES = """text with one of {}[],: may need quotes, as ["a-{0..3}.tar"]"""
_MERGE = "tag:yaml.org,2002:merge"


def load_yaml(text: str, where: str) -> Any:
    """What a text says, as only JSON's values.

    What an alias or `<<` repeats is a value of its own, so that one can be set without the other.

    Args:
        text: YAML.
        where: it stands, for messages.

    Raises:
        ConfigError: not YAML, a key twice, or what a config does not have.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML that refuses a key twice, and reads 1e-3 as the number it is."""

        left = _MAX_VALUES

        def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
            node = super().compose_mapping_node(anchor)
            seen = set()
            for key, _ in node.value:
                line = key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode):
                    raise ConfigError(f"{where}, line {line}: a key that is no text")
                if key.value in seen:
                    raise ConfigError(f"{where}, line {line}: {key.value!r} twice; keep one")
                seen.add(key.value)
            return node

        def flatten_mapping(self, node: yaml.MappingNode) -> None:
            """Resolve `<<`, each key once: PyYAML's own keeps all, 10^10 of some kilobytes."""
            merges = [value for key, value in node.value if key.tag == _MERGE]
            own = [pair for pair in node.value if pair[0].tag != _MERGE]
            # Before the others are read: one of them may be this one.
            node.value = own
            pairs: dict[str, tuple[yaml.Node, yaml.Node]] = {}
            for value in merges:
                for other in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if not isinstance(other, yaml.MappingNode):
                        line = other.start_mark.line + 1
                        raise ConfigError(f"{where}, line {line}: `<<` needs keys and values")
                    self.flatten_mapping(other)
                    self.left -= 1 + len(other.value)
                    if self.left < 0:
                        raise _too_many(where)
                    for key, item in other.value:
                        # The first of several wins.
                        pairs.setdefault(key.value, (key, item))
            if merges:
                node.value = list((pairs | {key.value: (key, item) for key, item in own}).values())

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))
    try:
        return _Copy(where).of(yaml.load(text, Loader), 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
        why = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{where}: not YAML: {why}{place}; {_QUOTES}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not YAML: {error}") from error
    except RecursionError as error:
        raise _too_deep(where) from error
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{where}: {error}") from error


class _Copy:
    """Values without what they share; only what JSON has too, finite."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.left = _MAX_VALUES

    def of(self, value: object, depth: int) -> Any:
        """The copy; what it would be too large for ends it, before it is made."""
        self.left -= 1
        if self.left < 0:
            raise _too_many(self.where)
        if depth > _MAX_DEPTH:
            raise _too_deep(self.where)
        if isinstance(value, dict):
            wrong = next((key for key in value if not isinstance(key, str)), None)
            if wrong is not None:
                raise ConfigError(f"{self.where}: the key {wrong!r} is no text; put it in quotes")
            return {key: self.of(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self.of(item, depth + 1) for item in value]
        if not (value is None or isinstance(value, str | bool | int | float)):
            raise ConfigError(
                f"{self.where}: {value!r} is a {type(value).__name__}; put it in quotes if it is "
                "text"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{self.where}: {value!r} is no finite number")
        return value


def _too_many(where: str) -> ConfigError:
    return ConfigError(f"{where}: more than {_MAX_VALUES:,} values; a config has dozens")


def _too_deep(where: str) -> ConfigError:
    return ConfigError(f"{where}: nested too deep; a config needs no more than {_MAX_DEPTH} levels")
