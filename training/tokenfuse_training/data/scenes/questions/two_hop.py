"""`what color is the thing left of the star?`: find the anchor, then the one object beyond it."""

from __future__ import annotations

from ..rng import Rng
from ..scene import Scene, SceneObject
from .common import DIRECTIONS, MARGIN, Question, offset, unique_descriptions

# Digits are half of all objects, each shape an eighth.
_DIGIT_PERCENT = 20

_TEMPLATES = {
    "color": (
        "what color is the {thing} {side} the {anchor}?",
        "what color is {side} the {anchor}?",
    ),
    "shape": (
        "what shape is {side} the {anchor}?",
        "what shape is the {thing} {side} the {anchor}?",
    ),
    "digit": ("what digit is {side} the {anchor}?", "which digit is {side} the {anchor}?"),
}


def ask(scene: Scene, rng: Rng) -> Question | None:
    """One attempt; None when not exactly one object lies on the drawn side by the margin."""
    if len(scene.objects) < 2:
        return None
    anchor, side = rng.choice(scene.objects), rng.choice(DIRECTIONS)
    item = only_one_beyond(scene, anchor, side)
    if item is None:
        return None
    phrases = unique_descriptions(scene, anchor, with_color=True, with_kind=True)
    if not phrases:
        return None
    asked = rng.choice(("color", "shape", "digit"))
    if asked == "digit" and item.kind != "digit":
        return None
    if asked == "shape" and item.kind == "digit" and not rng.chance(_DIGIT_PERCENT):
        return None
    text = rng.choice(_TEMPLATES[asked]).format(
        thing=rng.choice(("thing", "object")), side=side, anchor=rng.choice(phrases).words(rng)
    )
    answer = {"color": item.color, "shape": item.kind, "digit": item.name}[asked]
    return Question(family="two_hop", text=text, answer=answer)


def only_one_beyond(scene: Scene, anchor: SceneObject, side: str) -> SceneObject | None:
    """The one object on `side` of `anchor`, when all others are clearly on the other side."""
    others = [item for item in scene.objects if item is not anchor]
    offsets = [offset(item, anchor, side) for item in others]
    if any(abs(distance) < MARGIN for distance in offsets):
        return None
    beyond = [item for item, distance in zip(others, offsets, strict=True) if distance > 0]
    return beyond[0] if len(beyond) == 1 else None
