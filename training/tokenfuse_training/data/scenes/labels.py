"""Dense targets: what each patch of a grid shows."""

from __future__ import annotations

import dataclasses

import numpy as np

from .scene import Scene, SceneObject
from .vocabulary import COLORS, SHAPES

NUM_COLOR_LABELS = 1 + len(COLORS)
NUM_KIND_LABELS = 1 + len(SHAPES) + 10
# Ink fills about this share of the radius along an axis.
_FILL = {"circle": 0.875, "square": 0.75, "triangle": 0.75, "star": 0.75, "digit": 0.875}
_MIN_COVER = 0.15


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PatchLabels:
    """Targets of a g x g grid, row by row.

    Args:
        color_GG: int64, 0 for none, else 1 + index in COLORS.
        kind_GG: int64, 0 for none, 1 to 4 the shapes, 5 + digit for a digit.
        cover_GG: float32, share of the patch under the object's box, 0 to 1.
    """

    color_GG: np.ndarray
    kind_GG: np.ndarray
    cover_GG: np.ndarray


def color_label(item: SceneObject) -> int:
    """1 + index in COLORS."""
    return 1 + COLORS.index(item.color)


def kind_label(item: SceneObject) -> int:
    """1 to 4 for a shape, 5 to 14 for a digit."""
    return 5 + item.digit if item.digit is not None else 1 + SHAPES.index(item.kind)


def patch_labels(scene: Scene, grid: int) -> PatchLabels:
    """Label each patch with the object whose box covers most of it, from 15% of the patch up.

    Args:
        scene: the scene.
        grid: patches along one side.
    """
    color_GG = np.zeros((grid, grid), dtype=np.int64)
    kind_GG = np.zeros((grid, grid), dtype=np.int64)
    cover_GG = np.zeros((grid, grid), dtype=np.float32)
    for item in scene.objects:
        half = item.radius * _FILL[item.kind]
        wide = half * item.narrowing / 100
        cover = _overlap(item.y, half, grid)[:, None] * _overlap(item.x, wide, grid)[None, :]
        wins = (cover >= _MIN_COVER) & (cover > cover_GG)
        color_GG[wins] = color_label(item)
        kind_GG[wins] = kind_label(item)
        cover_GG[wins] = cover[wins]
    return PatchLabels(color_GG=color_GG, kind_GG=kind_GG, cover_GG=cover_GG)


def _overlap(center: float, half: float, grid: int) -> np.ndarray:
    """Share of each of `grid` intervals of [0, 1] that [center - half, center + half] covers."""
    edges = np.arange(grid + 1)
    low = np.maximum(edges[:-1], (center - half) * grid)
    high = np.minimum(edges[1:], (center + half) * grid)
    return np.maximum(high - low, 0.0)
