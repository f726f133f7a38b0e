"""`what digit is red?`: 0 to 9, asked when one digit fits."""

from __future__ import annotations

from ..rng import Rng
from ..scene import Scene
from .common import Description, Question

_COLORED = (
    "what digit is {}?",
    "which digit is {}?",
    "what is the {} digit?",
    "what number is {}?",
)
_ALONE = (
    "which digit is there?",
    "what digit do you see?",
    "what is the digit in the picture?",
)


def ask(scene: Scene, rng: Rng) -> Question | None:
    """One attempt; None when the drawn object is no digit or shares its colour with another."""
    item = rng.choice(scene.objects)
    if item.kind != "digit":
        return None
    if Description(kind="digit").count(scene) == 1 and rng.chance(50):
        text = rng.choice(_ALONE)
    elif Description(color=item.color, kind="digit").count(scene) == 1:
        text = rng.choice(_COLORED).format(item.color)
    else:
        return None
    return Question(family="digit", text=text, answer=item.name)
