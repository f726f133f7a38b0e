"""Fields of a Hugging Face config.json, with the defaults that its files leave out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenfuse_training.errors import InitError
from tokenfuse_training.init.hf_folder import HfFolder

__all__ = ["HfConfig"]


class HfConfig:
    """A config, or a section of one; a wrong field is an InitError that names it.

    Args:
        folder: whose it is.
        values: the fields that are there.
        defaults: what Hugging Face takes for those that are not.
        section: for messages.
    """

    def __init__(
        self,
        folder: HfFolder,
        values: Mapping[str, Any],
        defaults: Mapping[str, Any],
        section: str = "",
    ) -> None:
        self._folder, self._values, self._defaults = folder, values, defaults
        self._section = section

    def refuse(self, name: str, need: str) -> InitError:
        """The error of a field's value."""
        return self._folder.error(
            f"has {self._section}{name}={self[name]!r} in config.json: need {need}"
        )

    def __getitem__(self, name: str) -> Any:
        value = self._values.get(name)
        # null stands for the default as well.
        return self._defaults[name] if value is None else value

    def integer(self, name: str) -> int:
        value = self[name]
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.refuse(name, "a whole number")
        return value

    def side(self, name: str) -> int:
        """One number, or two equal ones."""
        value = self[name]
        if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
            value = value[0]
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.refuse(name, "a whole number above 0, or two equal ones")
        return value

    def small(self, name: str) -> float:
        """A number between 0 and 1, as of an epsilon."""
        value = self[name]
        if not isinstance(value, float) or not 0.0 < value < 1.0:
            raise self.refuse(name, "a number between 0 and 1")
        return value

    def must_be(self, name: str, *allowed: object, because: str) -> None:
        """Raise InitError unless the field has one of the values."""
        if not any(self[name] is value or self[name] == value for value in allowed):
            raise self.refuse(name, f"{' or '.join(map(repr, allowed))}; {because}")
