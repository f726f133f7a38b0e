"""What all question families share: descriptions of objects and how to word them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from ..rng import Rng
from ..scene import PIXEL, UNITS, Scene, SceneObject
from ..vocabulary import SHAPES

# Two centres closer than this along an axis are neither left nor right (above nor below).
MARGIN = 8 * PIXEL / UNITS
DIRECTIONS = ("left of", "right of", "above", "below")
YES_NO = ("no", "yes")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question about one scene and its exact answer."""

    family: str
    text: str
    answer: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A noun phrase: an optional colour, and a kind.

    Args:
        color: a colour, or None for any.
        kind: a shape's name, a digit `0` to `9`, `digit`, `shape` (any of the four), or `thing`.
    """

    color: str | None = None
    kind: str = "thing"

    def fits(self, item: SceneObject) -> bool:
        """Whether the phrase is true of `item`."""
        if self.color is not None and item.color != self.color:
            return False
        if self.kind == "thing":
            return True
        if self.kind == "shape":
            return item.kind != "digit"
        return self.kind in (item.kind, item.name)

    def count(self, scene: Scene) -> int:
        """How many objects of `scene` fit."""
        return sum(self.fits(item) for item in scene.objects)

    def words(self, rng: Rng, *, plural: bool = False) -> str:
        """The phrase without article; `thing` is also called `object`."""
        noun = rng.choice(("thing", "object")) if self.kind == "thing" else self.kind
        noun += "s" if plural else ""
        return noun if self.color is None else f"{self.color} {noun}"


def with_article(words: str) -> str:
    """`a star`, `an object`, `an 8`."""
    return f"an {words}" if words.startswith(("8", "object")) else f"a {words}"


def kind_words(item: SceneObject) -> tuple[str, ...]:
    """The kind words that are true of `item`, most precise first."""
    return (item.name, "digit") if item.kind == "digit" else (item.name,)


def any_kind(rng: Rng) -> str:
    """A kind word as scenes have them: half shapes, half digits."""
    return str(rng.below(10)) if rng.chance(50) else rng.choice(SHAPES)


def unique_descriptions(
    scene: Scene, item: SceneObject, *, with_color: bool, with_kind: bool
) -> list[Description]:
    """The phrases that fit `item` and nothing else in the scene.

    Args:
        scene: the scene.
        item: one of its objects.
        with_color: whether phrases may name the colour.
        with_kind: whether phrases may name the kind.
    """
    kinds: Iterable[str] = kind_words(item) if with_kind else ()
    found = [Description(kind=kind) for kind in kinds]
    if with_color:
        found += [Description(color=item.color, kind=kind) for kind in (*kinds, "thing")]
    if len(scene.objects) == 1:
        found.append(Description())
    return [phrase for phrase in found if phrase.count(scene) == 1]


def offset(item: SceneObject, anchor: SceneObject, direction: str) -> float:
    """How far `item` lies from `anchor` in `direction`; negative on the other side."""
    if direction == "left of":
        return anchor.x - item.x
    if direction == "right of":
        return item.x - anchor.x
    if direction == "above":
        return anchor.y - item.y
    return item.y - anchor.y
