"""Captions and the pre-training tasks made of them: completion, matching, entailment."""

from __future__ import annotations

import dataclasses

from .questions.common import DIRECTIONS, MARGIN, Description, offset, with_article
from .questions.common import any_kind as _any_kind
from .rng import Rng
from .scene import Scene, SceneObject
from .vocabulary import COLORS, INVISIBLE

ORDERS = ("left to right", "top to bottom")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One text task: what the model reads, prefix included, and what it must write."""

    task: str
    prompt: str
    target: str


def caption(scene: Scene, order: str = "left to right") -> str:
    """Every object in reading order: `red circle, blue 3, green star`."""
    return ", ".join(item.phrase for item in _ordered(scene, order))


def captioning(scene: Scene, rng: Rng) -> Example:
    """`caption:` (left to right), `caption: left to right` or `caption: top to bottom`."""
    order = rng.choice(ORDERS)
    bare = order == ORDERS[0] and rng.chance(50)
    prompt = "caption:" if bare else f"caption: {order}"
    return Example(task="caption", prompt=prompt, target=caption(scene, order))


def completion(scene: Scene, rng: Rng) -> Example | None:
    """The first objects of the left-to-right caption; the rest is to be written."""
    phrases = [item.phrase for item in scene.left_to_right()]
    if len(phrases) < 2:
        return None
    cut = rng.between(1, len(phrases) - 1)
    return Example(
        task="complete",
        prompt=f"complete: {', '.join(phrases[:cut])},",
        target=", ".join(phrases[cut:]),
    )


def matching(scene: Scene, rng: Rng) -> Example:
    """A left-to-right caption, true or with one small mistake."""
    looks = [(item.color, item.name) for item in scene.left_to_right()]
    answer = rng.choice(("no", "yes"))
    if answer == "no":
        looks = _spoiled(looks, rng)
    text = ", ".join(f"{color} {name}" for color, name in looks)
    return Example(task="match", prompt=f"match: {text}", target=answer)


def _spoiled(looks: list[tuple[str, str]], rng: Rng) -> list[tuple[str, str]]:
    """One colour or kind replaced, or two colours, kinds or whole objects exchanged."""
    while True:
        out = list(looks)
        i, j = rng.below(len(looks)), rng.below(len(looks))
        (color_i, name_i), (color_j, name_j) = looks[i], looks[j]
        mistake = rng.choice(("color", "kind", "colors", "kinds", "order"))
        if mistake == "color":
            out[i] = (rng.choice(COLORS), name_i)
        elif mistake == "kind":
            out[i] = (color_i, _any_kind(rng))
        elif mistake == "colors":
            out[i], out[j] = (color_j, name_i), (color_i, name_j)
        elif mistake == "kinds":
            out[i], out[j] = (color_i, name_j), (color_j, name_i)
        else:
            out[i], out[j] = looks[j], looks[i]
        if out != looks:
            return out


def entailment(scene: Scene, rng: Rng) -> Example | None:
    """A statement: yes when the picture shows it, no when it contradicts it, else maybe.

    What no picture shows (`the red star is old`) is maybe when there is such an
    object and no when there is none, so that the words alone do not decide.
    """
    visible = rng.chance(50)
    answer = rng.choice(("no", "yes" if visible else "maybe"))
    text = _visible(scene, rng, answer == "yes") if visible else _hidden(scene, rng, answer)
    if text is None:
        return None
    return Example(task="entail", prompt=f"entail: {text}", target=answer)


def _visible(scene: Scene, rng: Rng, true: bool) -> str | None:
    if len(scene.objects) > 1 and rng.chance(50):
        first, second = rng.shuffled(scene.objects)[:2]
        direction = rng.choice(DIRECTIONS)
        distance = offset(first, second, direction)
        if abs(distance) < MARGIN or first.phrase == second.phrase:
            return None
        if (distance > 0) != true:
            first, second = second, first
        phrases = [Description(color=o.color, kind=o.name) for o in (first, second)]
        if any(phrase.count(scene) != 1 for phrase in phrases):
            return None
        return f"the {first.phrase} is {direction} the {second.phrase}."
    if rng.chance(50):
        wanted = _description(scene, rng, present=true)
        return None if wanted is None else f"there is {with_article(wanted.words(rng))}."
    count = len(scene.objects)
    told = count if true else rng.between(1, 5)
    if not true and told == count:
        return None
    return "there is only 1 thing." if told == 1 else f"there are {told} things."


def _hidden(scene: Scene, rng: Rng, answer: str) -> str | None:
    wanted = _description(scene, rng, present=answer == "maybe")
    if wanted is None or wanted.count(scene) > 1:
        return None
    return f"the {wanted.words(rng)} is {rng.choice(INVISIBLE)}."


def _description(scene: Scene, rng: Rng, *, present: bool) -> Description | None:
    first: SceneObject = rng.choice(scene.objects)
    if present:
        return Description(color=first.color, kind=first.name)
    second = rng.choice(scene.objects)
    wanted = Description(color=first.color, kind=second.name)
    if wanted.count(scene):
        wanted = Description(color=rng.choice(COLORS), kind=_any_kind(rng))
    return None if wanted.count(scene) else wanted


def _ordered(scene: Scene, order: str) -> tuple[SceneObject, ...]:
    if order not in ORDERS:
        raise ValueError(f"order={order!r}: need one of {', '.join(ORDERS)}")
    return scene.left_to_right() if order == ORDERS[0] else scene.top_to_bottom()


_TASKS = {
    "caption": captioning,
    "complete": completion,
    "match": matching,
    "entail": entailment,
}
TASKS = tuple(_TASKS)
_ATTEMPTS = 20


def text_example(scene: Scene, rng: Rng, task: str) -> Example | None:
    """One example of a task, or None where the scene has none (completing a single object)."""
    if task not in _TASKS:
        raise ValueError(f"task={task!r}: need one of {', '.join(TASKS)}")
    for _ in range(_ATTEMPTS):
        example = _TASKS[task](scene, rng)
        if example is not None:
            return example
    return None
