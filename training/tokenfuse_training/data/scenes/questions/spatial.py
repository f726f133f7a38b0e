"""`is the red circle left of the star?`: asked when the centres differ clearly along the axis."""

from __future__ import annotations

from ..rng import Rng
from ..scene import Scene
from .common import DIRECTIONS, MARGIN, YES_NO, Question, offset, unique_descriptions

_TEMPLATES = ("is the {} {} the {}?", "is the {} {} the {} in the picture?")


def ask(scene: Scene, rng: Rng) -> Question | None:
    """One attempt; None when the drawn pair is too close or has no phrase of its own."""
    if len(scene.objects) < 2:
        return None
    answer = rng.choice(YES_NO)
    first, second = rng.shuffled(scene.objects)[:2]
    direction = rng.choice(DIRECTIONS)
    distance = offset(first, second, direction)
    if abs(distance) < MARGIN:
        return None
    if (distance > 0) != (answer == "yes"):
        first, second = second, first
    phrases = [
        unique_descriptions(scene, item, with_color=True, with_kind=True)
        for item in (first, second)
    ]
    if not all(phrases):
        return None
    words = [rng.choice(options).words(rng) for options in phrases]
    text = rng.weighted(_TEMPLATES, (3, 1)).format(words[0], direction, words[1])
    return Question(family="spatial", text=text, answer=answer)
