"""Stepping stones: questions for training alone, whose answers a harder yes or no needs.

`are there more stars than circles?` says one bit about two counts, and `is the 9 left of the
star?` multiplies two positions with a direction: neither alone tells the answer, so there is
little to learn from at first. Asked apart, they are easy:

- `what is the 9 to the picture?`: `2 5`, column and row on a grid of 8 by 8;
- `what is the 9 to the star?`: `left above` (an axis that is too close is left out);
- `how many stars and circles are there?`: `2 1`;
- `what color are the 9 and the star?`: `red blue`.
"""

from __future__ import annotations

from .questions.common import MARGIN, Description, Question, unique_descriptions
from .rng import Rng
from .scene import Scene
from .vocabulary import COLORS, SHAPES

__all__ = ["FORMS", "ask_stones"]

FORMS = ("place", "counts", "colors", "spot")
# Positions are the hardest, so they come most often.
_WEIGHTS = (35, 15, 15, 35)
_GRID_SIZE = 8
_ATTEMPTS = 10
_SIDES = (
    tuple(Description(kind=kind) for kind in SHAPES),
    tuple(Description(color=color) for color in COLORS),
    (Description(kind="digit"), Description(kind="shape")),
)


def _place(scene: Scene, rng: Rng) -> Question | None:
    pair = _pair(scene, rng, with_color=True)
    if pair is None:
        return None
    (first, second), words = pair
    axes = ((second.x - first.x, "left", "right"), (second.y - first.y, "above", "below"))
    said = [low if ahead > 0 else high for ahead, low, high in axes if abs(ahead) >= MARGIN]
    if not said:
        return None
    text = f"what is the {words[0]} to the {words[1]}?"
    return Question(family="place", text=text, answer=" ".join(said))


def _spot(scene: Scene, rng: Rng) -> Question | None:
    item = rng.choice(scene.objects)
    phrases = unique_descriptions(scene, item, with_color=True, with_kind=True)
    if not phrases:
        return None
    text = f"what is the {rng.choice(phrases).words(rng)} to the picture?"
    column, row = (int(center * _GRID_SIZE) for center in (item.x, item.y))
    return Question(family="spot", text=text, answer=f"{column} {row}")


def _colors(scene: Scene, rng: Rng) -> Question | None:
    pair = _pair(scene, rng, with_color=False)
    if pair is None:
        return None
    (first, second), words = pair
    text = f"what color are the {words[0]} and the {words[1]}?"
    return Question(family="colors", text=text, answer=f"{first.color} {second.color}")


def _counts(scene: Scene, rng: Rng) -> Question:
    for _ in range(_ATTEMPTS):
        first, second = rng.shuffled(rng.choice(_SIDES))[:2]
        if first.count(scene) + second.count(scene):
            break
    words = [side.words(rng, plural=True) for side in (first, second)]
    text = f"how many {words[0]} and {words[1]} are there?"
    return Question(
        family="counts", text=text, answer=f"{first.count(scene)} {second.count(scene)}"
    )


def _pair(scene: Scene, rng: Rng, *, with_color: bool):
    """Two objects, and a phrase for each that fits nothing else."""
    if len(scene.objects) < 2:
        return None
    items = rng.shuffled(scene.objects)[:2]
    phrases = [
        unique_descriptions(scene, item, with_color=with_color, with_kind=True) for item in items
    ]
    if not all(phrases):
        return None
    return items, [rng.choice(options).words(rng) for options in phrases]


_ASK = {"place": _place, "counts": _counts, "colors": _colors, "spot": _spot}


def ask_stones(scene: Scene, rng: Rng, *, num_questions: int) -> list[Question]:
    """Exactly `num_questions`; counts, which every scene has, where a form does not fit."""
    found = []
    for _ in range(num_questions):
        form = rng.weighted(FORMS, _WEIGHTS)
        attempts = (_ASK[form](scene, rng) for _ in range(_ATTEMPTS))
        found.append(next((q for q in attempts if q is not None), None) or _counts(scene, rng))
    return found
