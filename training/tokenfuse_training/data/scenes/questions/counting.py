"""`how many red circles are there?`: 0 to 5."""

from __future__ import annotations

from ..rng import Rng
from ..scene import Scene
from ..vocabulary import COLORS, SHAPES
from .common import Description, Question

# Weights of the answers 0 to 5: high counts are rare in scenes, so they are asked where possible.
_TARGETS = (0, 1, 2, 3, 4, 5)
_TARGET_WEIGHTS = (3, 5, 9, 16, 26, 41)


def ask(scene: Scene, rng: Rng) -> Question | None:
    """One attempt; None when no question of the drawn form has the drawn answer."""
    target = rng.weighted(_TARGETS, _TARGET_WEIGHTS)
    if target > len(scene.objects):
        return None
    form = rng.weighted(("both", "kind", "color", "group", "all"), (26, 24, 26, 14, 10))
    fitting = [wanted for wanted in _FORMS[form]() if wanted.count(scene) == target]
    if target == 0 and form == "both":
        # Near misses only: the colour or the kind is there.
        seen = {word for item in scene.objects for word in (item.color, item.kind)}
        fitting = [wanted for wanted in fitting if seen & {wanted.color, wanted.kind}]
    if not fitting:
        return None
    words = rng.choice(fitting).words(rng, plural=True)
    template = rng.choice(
        ("how many {} are there?", "how many {} are in the picture?", "how many {} do you see?")
    )
    return Question(family="counting", text=template.format(words), answer=str(target))


def _both() -> list[Description]:
    return [Description(color=c, kind=k) for c in COLORS for k in (*SHAPES, "digit")]


def _kind() -> list[Description]:
    return [Description(kind=kind) for kind in SHAPES]


def _color() -> list[Description]:
    return [Description(color=color) for color in COLORS]


def _group() -> list[Description]:
    return [Description(kind="digit"), Description(kind="shape")]


def _all() -> list[Description]:
    return [Description()]


_FORMS = {"both": _both, "kind": _kind, "color": _color, "group": _group, "all": _all}
