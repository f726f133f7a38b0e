"""Sample scenes: scene i of a split is a pure function of (seed, split, i)."""

from __future__ import annotations

from .digits import load_digit_bank
from .rng import Rng, stream_key
from .scene import PIXEL, UNITS, Background, Scene, SceneObject
from .vocabulary import COLOR_RANGES, COLORS, SHAPES

_NUM_OBJECTS = (1, 2, 3, 4, 5)
_NUM_WEIGHTS = (2, 3, 5, 6, 6)
# Smallest radius per kind, in pixels of 64: corners make the others look smaller than a circle.
_MIN_RADIUS_PX = {"circle": 6, "square": 7, "triangle": 7.5, "star": 7.5, "digit": 8}
# Largest radius by number of objects, so that five still fit.
_MAX_RADIUS_PX = (11, 11, 11, 9.5, 9)
# Gap between two objects, and to the edge.
_GAP = 2 * PIXEL
_EDGE = PIXEL
# Centres differ by at least this along both axes: the reading order is never a matter of taste.
_ORDER_GAP = 2 * PIXEL
# A digit's ink leaves the disc of its half height by up to this, in percent.
_DIGIT_REACH = 120
_TRIES = 24
# In half of the scenes most objects share a colour, a kind or both: without
# it counts above two and pairs of one colour would be rare.
_THEME_PERCENT = 50
_FOLLOW_PERCENT = 75


def sample_scene(split: str, index: int, *, seed: int) -> Scene:
    """Scene `index` of a split.

    Args:
        split: train, val or test; decides which digit images may appear.
        index: 0 and up.
        seed: 0 and up; the same for all scenes of a set.
    """
    rng = Rng(stream_key(seed, split, index, "scene"))
    noise_key = stream_key(seed, split, index, "noise")
    background = _background(rng, noise_key)
    looks = _looks(rng, rng.weighted(_NUM_OBJECTS, _NUM_WEIGHTS))
    places = _places(rng, [kind for kind, _ in looks])
    objects = []
    for (kind, color), (x, y, radius) in zip(looks, places, strict=True):
        rgb = tuple(rng.between(low, high) for low, high in COLOR_RANGES[color])
        extra = {}
        rotation = 5 * rng.between(-3, 3)
        if kind == "digit":
            digit = rng.below(10)
            images = load_digit_bank().by_split[split][digit]
            extra = {
                "digit": digit,
                "digit_index": rng.choice(images),
                "narrowing": rng.between(82, 100),
            }
            rotation = 5 * rng.between(-2, 2)
        objects.append(
            SceneObject(
                kind=kind,
                color=color,
                rgb=rgb,
                x=x / UNITS,
                y=y / UNITS,
                radius=radius / UNITS,
                rotation=rotation,
                **extra,
            )
        )
    return Scene(objects=tuple(objects), background=background)


def _background(rng: Rng, noise_key: int) -> Background:
    # Dark or light: between the two lie levels at which green or purple would fade.
    grey = rng.between(0, 75) if rng.chance(50) else rng.between(180, 255)
    tint = rng.weighted((0, 8), (1, 2))
    rgb = tuple(min(255, max(0, grey + rng.between(-tint, tint))) for _ in range(3))
    slope = rng.weighted((0, 16), (1, 2))
    return Background(
        rgb=rgb,
        gradient_x=rng.between(-slope, slope),
        gradient_y=rng.between(-slope, slope),
        noise=rng.weighted((0, 2, 4, 6), (2, 1, 1, 1)),
        noise_key=noise_key,
    )


def _kind(rng: Rng) -> str:
    return "digit" if rng.chance(50) else rng.choice(SHAPES)


def _looks(rng: Rng, num_objects: int) -> list[tuple[str, str]]:
    theme_kind = theme_color = None
    if rng.chance(_THEME_PERCENT):
        theme = rng.choice(("kind", "color", "both"))
        if theme != "color":
            theme_kind = _kind(rng)
        if theme != "kind":
            theme_color = rng.choice(COLORS)
    looks = []
    for _ in range(num_objects):
        kind, color = _kind(rng), rng.choice(COLORS)
        if rng.chance(_FOLLOW_PERCENT):
            kind, color = theme_kind or kind, theme_color or color
        looks.append((kind, color))
    return looks


def _places(rng: Rng, kinds: list[str]) -> list[tuple[int, int, int]]:
    """Centres and radii in units, by rejection; each restart lowers the largest radius."""
    largest = int(_MAX_RADIUS_PX[len(kinds) - 1] * PIXEL)
    while True:
        places: list[tuple[int, int, int]] = []
        reaches: list[int] = []
        for kind in kinds:
            smallest = int(_MIN_RADIUS_PX[kind] * PIXEL)
            radius = rng.between(smallest, max(smallest, largest))
            reach = radius * _DIGIT_REACH // 100 if kind == "digit" else radius
            low, high = radius + _EDGE, UNITS - radius - _EDGE
            for _ in range(_TRIES):
                x, y = rng.between(low, high), rng.between(low, high)
                if all(
                    abs(x - px) >= _ORDER_GAP
                    and abs(y - py) >= _ORDER_GAP
                    and (x - px) ** 2 + (y - py) ** 2 >= (reach + other + _GAP) ** 2
                    for (px, py, _), other in zip(places, reaches, strict=True)
                ):
                    places.append((x, y, radius))
                    reaches.append(reach)
                    break
            else:
                break
        if len(places) == len(kinds):
            return places
        largest -= PIXEL // 4
