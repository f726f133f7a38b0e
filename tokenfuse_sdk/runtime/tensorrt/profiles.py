"""Optimisation profiles, the ranges of shapes that an engine was built for, and their choice."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from tokenfuse_sdk.errors import UnsupportedModelError
from tokenfuse_sdk.runtime.tensorrt.values import Shape

__all__ = ["Profile", "Profiles"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Shapes of each input, at least and at most."""

    least: Mapping[str, Shape]
    most: Mapping[str, Shape]

    def takes(self, shapes: Mapping[str, Shape]) -> bool:
        return all(
            len(shape) == len(self.least[name])
            and all(map(_between, self.least[name], shape, self.most[name]))
            for name, shape in shapes.items()
        )


def _between(least: int, extent: int, most: int) -> bool:
    return least <= extent <= most


class Profiles:
    """Those of one engine, in its order.

    Args:
        name: of the engine's file, for errors.
        profiles: one or more.
    """

    def __init__(self, name: str, profiles: Sequence[Profile]) -> None:
        self._name, self._profiles = name, tuple(profiles)
        # Shapes come again and again; there are few, as budgets, batches and lengths are.
        self._known: dict[tuple[Shape, ...], int] = {}

    def __getitem__(self, index: int) -> Profile:
        return self._profiles[index]

    def choose(self, shapes: Mapping[str, Shape]) -> int:
        """Which one takes the inputs' shapes: the first.

        Args:
            shapes: of all inputs, in the same order in each call.

        Raises:
            UnsupportedModelError: none does; says what they take.
        """
        key = tuple(shapes.values())
        index = self._known.get(key)
        if index is None:
            fitting = (i for i, one in enumerate(self._profiles) if one.takes(shapes))
            index = next(fitting, None)
            if index is None:
                raise self._none_takes(shapes)
            self._known[key] = index
        return index

    def _none_takes(self, shapes: Mapping[str, Shape]) -> UnsupportedModelError:
        # One tensor is enough to tell by, mostly: the first that no profile takes.
        names = [
            name
            for name, shape in shapes.items()
            if not any(one.takes({name: shape}) for one in self._profiles)
        ]
        name = names[0] if names else next(iter(shapes))
        taken = sorted(
            {f"{list(one.least[name])} to {list(one.most[name])}" for one in self._profiles}
        )
        return UnsupportedModelError(
            f"{self._name} was not built for {name} {list(shapes[name])}; its profiles take "
            f"{', '.join(taken)}. Build engines with that --batch and --budget: `tokenfuse build`"
        )
