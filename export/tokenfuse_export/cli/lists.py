"""Options that take several values, with commas between them."""

from __future__ import annotations

import click

__all__ = ["Integers", "Words"]


class Words(click.ParamType):
    """Words with commas between them."""

    name = "list"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        words = tuple(word.strip() for word in str(value).split(","))
        if not all(words):
            self.fail(f"{value!r} has an empty place; write a,b,c", param, ctx)
        return words


class Integers(Words):
    """Integers with commas between them."""

    name = "integers"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        try:
            return tuple(int(word) for word in super().convert(value, param, ctx))
        except ValueError:
            self.fail(f"{value!r}: write integers with commas between them", param, ctx)
