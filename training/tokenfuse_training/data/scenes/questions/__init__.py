"""Questions with exact answers, eight families, balanced against guessing.

Each family module has `ask(scene, rng)`: one attempt that draws a form and,
where answers would not be balanced by symmetry, the answer first; it returns
None when the scene has no such question.
"""

from __future__ import annotations

from ..rng import Rng
from ..scene import Scene
from . import color, comparison, counting, digit, existence, shape, spatial, two_hop
from .common import Question

__all__ = ["FAMILIES", "Question", "ask_questions"]

_ASK = {
    "existence": existence.ask,
    "counting": counting.ask,
    "color": color.ask,
    "shape": shape.ask,
    "digit": digit.ask,
    "comparison": comparison.ask,
    "spatial": spatial.ask,
    "two_hop": two_hop.ask,
}
FAMILIES = tuple(_ASK)
# Enough that the pickiest family, two_hop, is found where the scene has it.
_ATTEMPTS = 40


def ask_questions(
    scene: Scene, rng: Rng, *, num_questions: int, families: tuple[str, ...] = FAMILIES
) -> list[Question]:
    """Up to `num_questions` different questions about `scene`, the families as even as it allows.

    A scene that has too few, such as one object alone, gives fewer.
    """
    found: dict[str, Question] = {}
    order: list[str] = []
    misses = 0
    while len(found) < num_questions and misses < 3 * len(families):
        if not order:
            order = rng.shuffled(families)
        ask = _ASK[order.pop()]
        for _ in range(_ATTEMPTS):
            question = ask(scene, rng)
            if question is not None and question.text not in found:
                found[question.text] = question
                break
        else:
            misses += 1
    return list(found.values())
