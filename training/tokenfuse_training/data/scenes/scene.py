"""A scene: what is in a picture, before any pixel is drawn."""

from __future__ import annotations

import dataclasses

# Positions and sizes are multiples of 1 / UNITS of the canvas: exact in binary
# floating point, so that rendering can work in integers at any resolution.
UNITS = 4096
# Sizes below are given in pixels of a canvas of 64, the size nano sees.
PIXEL = UNITS // 64


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SceneObject:
    """One coloured shape or handwritten digit.

    Args:
        kind: circle, square, triangle, star or digit.
        color: its colour's name; `rgb` is the jittered value that is drawn.
        x, y: centre, 0 to 1 from the left and from the top.
        radius: of the shape's corners around the centre, or half a digit's height; 0 to 1.
        rotation: degrees, clockwise on the screen.
        digit: the digit's value, for a digit.
        digit_index: its image in the digit bank, for a digit.
        narrowing: a digit's width over its height, in percent.
    """

    kind: str
    color: str
    rgb: tuple[int, int, int]
    x: float
    y: float
    radius: float
    rotation: int = 0
    digit: int | None = None
    digit_index: int | None = None
    narrowing: int = 100

    @property
    def name(self) -> str:
        """The word for it: `star`, or `7` for a digit."""
        return self.kind if self.digit is None else str(self.digit)

    @property
    def phrase(self) -> str:
        """Colour and name: `red star`, `blue 7`."""
        return f"{self.color} {self.name}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """A grey with a slight tint, a linear gradient and noise; all in 8-bit levels.

    Args:
        rgb: the colour at the centre.
        gradient_x, gradient_y: change from one edge to the other.
        noise: largest deviation of a pixel's channel, either way.
        noise_key: key of the noise's random stream.
    """

    rgb: tuple[int, int, int]
    gradient_x: int
    gradient_y: int
    noise: int
    noise_key: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Objects on a background; no two objects touch."""

    objects: tuple[SceneObject, ...]
    background: Background

    def left_to_right(self) -> tuple[SceneObject, ...]:
        """Objects by centre, leftmost first."""
        return tuple(sorted(self.objects, key=lambda o: (o.x, o.y)))

    def top_to_bottom(self) -> tuple[SceneObject, ...]:
        """Objects by centre, topmost first."""
        return tuple(sorted(self.objects, key=lambda o: (o.y, o.x)))
