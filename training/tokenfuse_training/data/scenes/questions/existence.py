"""`is there a red circle?`: yes and no alike, and no is a near miss."""

from __future__ import annotations

from ..rng import Rng
from ..scene import Scene, SceneObject
from ..vocabulary import COLORS
from .common import YES_NO, Description, Question, any_kind, kind_words, with_article

# Most scenes hold a digit and a shape: without this the bare words would nearly always mean yes.
_BARE_YES_PERCENT = 45
_TRIES = 12
# Some noes stay easy: a colour or a kind that is nowhere is asked about, too.
_NEAR_PERCENT = 85


def ask(scene: Scene, rng: Rng) -> Question | None:
    """One attempt; None when the drawn form has no such question here."""
    answer = rng.choice(YES_NO)
    form = rng.weighted(("both", "color", "kind", "bare"), (55, 15, 22, 8))
    wanted = _fitting(scene, rng, form, answer)
    if wanted is None:
        return None
    # "are there any 2?" would be no English: a digit's value has no plural here.
    forms = ("is", "see") if wanted.kind.isdecimal() else ("is", "is", "any", "see")
    text = {
        "is": f"is there {with_article(wanted.words(rng))}?",
        "any": f"are there any {wanted.words(rng, plural=True)}?",
        "see": f"do you see {with_article(wanted.words(rng))}?",
    }[rng.choice(forms)]
    return Question(family="existence", text=text, answer=answer)


def _fitting(scene: Scene, rng: Rng, form: str, answer: str) -> Description | None:
    """Keep form and answer while trying: drawing them anew would favour the easier answer."""
    for _ in range(_TRIES):
        wanted = _PICK[form](scene, rng, answer)
        if wanted is None or (wanted.count(scene) > 0) == (answer == "yes"):
            return wanted
    return None


def _both(scene: Scene, rng: Rng, answer: str) -> Description:
    first = rng.choice(scene.objects)
    if answer == "yes":
        return Description(color=first.color, kind=_kind_of(first, rng))
    # Best a colour that is there on another kind, and a kind that is there in another colour.
    kinds = [_kind_of(item, rng) for item in scene.objects]
    near = [Description(color=item.color, kind=kind) for item in scene.objects for kind in kinds]
    near = [wanted for wanted in near if wanted.count(scene) == 0]
    if near and rng.chance(_NEAR_PERCENT):
        return rng.choice(near)
    if rng.chance(50):
        return Description(color=first.color, kind=any_kind(rng))
    return Description(color=rng.choice(COLORS), kind=_kind_of(first, rng))


def _kind_of(item: SceneObject, rng: Rng) -> str:
    return rng.weighted(kind_words(item), (3, 1)[: len(kind_words(item))])


def _color(scene: Scene, rng: Rng, answer: str) -> Description:
    if answer == "yes":
        return Description(color=rng.choice(scene.objects).color)
    return Description(color=rng.choice(COLORS))


def _kind(scene: Scene, rng: Rng, answer: str) -> Description:
    if answer == "yes":
        return Description(kind=rng.choice(scene.objects).name)
    return Description(kind=any_kind(rng))


def _bare(scene: Scene, rng: Rng, answer: str) -> Description | None:
    if answer == "yes" and not rng.chance(_BARE_YES_PERCENT):
        return None
    return Description(kind=rng.choice(("digit", "shape")))


_PICK = {"both": _both, "color": _color, "kind": _kind, "bare": _bare}
