"""`what shape is the red thing?`: circle, square, triangle, star or digit."""

from __future__ import annotations

from ..rng import Rng
from ..scene import Scene
from .common import Description, Question

_TEMPLATES = (
    "what shape is the {}?",
    "what is the shape of the {}?",
    "which shape does the {} have?",
)
# Digits are half of all objects, each shape an eighth; measured to give a fifth of the answers.
DIGIT_PERCENT = 12


def ask(scene: Scene, rng: Rng) -> Question | None:
    """One attempt; None when the drawn object is not the only one of its colour."""
    item = rng.choice(scene.objects)
    if item.kind == "digit" and not rng.chance(DIGIT_PERCENT):
        return None
    phrase = Description(color=None if len(scene.objects) == 1 else item.color)
    if phrase.count(scene) != 1:
        return None
    text = rng.choice(_TEMPLATES).format(phrase.words(rng))
    return Question(family="shape", text=text, answer=item.kind)
