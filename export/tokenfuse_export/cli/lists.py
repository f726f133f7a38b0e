"""Options that take several values, with commas between them."""

from __future__ import annotations

from collections.abc import Collection

import click

from tokenfuse_export.choices import CURRENT
from tokenfuse_sdk.engine_key import TARGET

__all__ = ["Integers", "Targets", "Words"]


class Words(click.ParamType):
    """Words with commas between them.

    Args:
        known: all that a word may be; None for any.
    """

    name = "list"

    def __init__(self, known: Collection[str] | None = None) -> None:
        self._known = known

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        words = tuple(word.strip() for word in str(value).split(","))
        if not all(words):
            self.fail(f"{value!r} has an empty place; write a,b,c", param, ctx)
        for word in words:
            if self._known is not None and word not in self._known:
                self.fail(f"{word!r} is none of {', '.join(self._known)}", param, ctx)
        return words


class Targets(Words):
    """Compute capabilities, or this machine's GPU, with commas between them."""

    name = "targets"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        words = super().convert(value, param, ctx)
        for word in words:
            if word != CURRENT and not TARGET.fullmatch(word):
                self.fail(
                    f"{word!r}: write a compute capability as sm_86 (8.6) or sm_120 (12.0), or "
                    f"{CURRENT} for the GPU of this machine",
                    param,
                    ctx,
                )
        return words


class Integers(Words):
    """Integers with commas between them.

    Args:
        least, most: that each may be; None for any.
    """

    name = "integers"

    def __init__(self, least: int | None = None, most: int | None = None) -> None:
        super().__init__()
        self._range = click.IntRange(least, most)

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        words = super().convert(value, param, ctx)
        return tuple(self._range.convert(word, param, ctx) for word in words)
