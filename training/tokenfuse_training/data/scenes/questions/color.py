"""`what color is the star?`: one object fits, the answer is its colour."""

from __future__ import annotations

from ..rng import Rng
from ..scene import Scene
from .common import Question, unique_descriptions

_TEMPLATES = (
    "what color is the {}?",
    "what colour is the {}?",
    "what is the color of the {}?",
    "which color does the {} have?",
)


def ask(scene: Scene, rng: Rng) -> Question | None:
    """One attempt; None when the drawn object has no phrase of its own without its colour."""
    item = rng.choice(scene.objects)
    phrases = unique_descriptions(scene, item, with_color=False, with_kind=True)
    if not phrases:
        return None
    words = rng.choice(phrases).words(rng)
    return Question(family="color", text=rng.choice(_TEMPLATES).format(words), answer=item.color)
