"""`are there more circles than squares?` and `are the star and the 7 the same color?`."""

from __future__ import annotations

from ..rng import Rng
from ..scene import Scene
from ..vocabulary import COLORS, SHAPES
from .common import YES_NO, Description, Question, unique_descriptions

_SAME_COLOR = (
    "are the {} and the {} the same color?",
    "do the {} and the {} have the same color?",
)
# Two objects share a colour less often than not: equal answers need fewer of the noes.
_DIFFERENT_PERCENT = 55
# With both sides present, seeing that one exists is not enough.
_BOTH_PRESENT_PERCENT = 60


def ask(scene: Scene, rng: Rng) -> Question | None:
    """One attempt; None when the drawn form has no such question here."""
    if len(scene.objects) < 2:
        return None
    form = rng.weighted(("shapes", "colors", "groups", "same"), (25, 30, 10, 35))
    answer = rng.choice(YES_NO)
    if form == "same":
        return _same_color(scene, rng, answer)
    return _more(scene, rng, answer, _SIDES[form])


def _more(scene: Scene, rng: Rng, answer: str, sides: tuple[Description, ...]) -> Question | None:
    counts = [side.count(scene) for side in sides]
    pairs = [
        (i, j)
        for i in range(len(sides))
        for j in range(len(sides))
        # Neither may be there: no is right then as well.
        if i != j and (counts[i] > counts[j]) == (answer == "yes")
    ]
    if rng.chance(_BOTH_PRESENT_PERCENT):
        pairs = [(i, j) for i, j in pairs if counts[i] and counts[j]] or pairs
    if not pairs:
        return None
    i, j = rng.choice(pairs)
    first, second = sides[i].words(rng, plural=True), sides[j].words(rng, plural=True)
    text = f"are there more {first} than {second}?"
    return Question(family="comparison", text=text, answer=answer)


def _same_color(scene: Scene, rng: Rng, answer: str) -> Question | None:
    first, second = rng.shuffled(scene.objects)[:2]
    same = first.color == second.color
    if same != (answer == "yes") or not (same or rng.chance(_DIFFERENT_PERCENT)):
        return None
    phrases = [
        unique_descriptions(scene, item, with_color=False, with_kind=True)
        for item in (first, second)
    ]
    if not all(phrases):
        return None
    words = [rng.choice(options).words(rng) for options in phrases]
    text = rng.choice(_SAME_COLOR).format(*words)
    return Question(family="comparison", text=text, answer=answer)


_SIDES = {
    "shapes": tuple(Description(kind=kind) for kind in SHAPES),
    "colors": tuple(Description(color=color) for color in COLORS),
    "groups": (Description(kind="digit"), Description(kind="shape")),
}
