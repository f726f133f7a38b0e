"""Draw a scene: integer arithmetic only, so that every machine draws the same bytes.

Shape legend: H, W rows and columns of the picture; h, w of an object's box.
"""

from __future__ import annotations

import numpy as np

from .digits import load_digit_bank
from .rng import noise_bytes
from .scene import UNITS, Background, Scene, SceneObject
from .trig import ONE, cosine, sine

# Ink 0..16 to opacity 0..256, opaque from 15: strokes stay strong and small holes open.
_INK_GAIN_NUM, _INK_GAIN_DEN = 256, 15
# cos 72 degrees: distance of a pentagram's lines from its centre, over its radius.
_STAR_APOTHEM = cosine(72)


def render(scene: Scene, size: int = 64) -> np.ndarray:
    """Draw `scene` as uint8 [size, size, 3], RGB.

    Shapes are antialiased by 4 x 4 samples a pixel; a digit is its 8 x 8 image,
    interpolated bilinearly, as opacity of the object's colour.

    Args:
        scene: what to draw.
        size: pixels along one side, 8 to 1,024.
    """
    if not 8 <= size <= 1024:
        raise ValueError(f"size={size}: need 8 to 1024 pixels")
    canvas_HWC = _background(scene.background, size)
    for item in scene.objects:
        alpha_hw, rows, columns = coverage(item, size)
        box_hwC = canvas_HWC[rows, columns]
        alpha_hw1 = alpha_hw[:, :, None]
        rgb_C = np.array(item.rgb, dtype=np.int32)
        canvas_HWC[rows, columns] = (box_hwC * (256 - alpha_hw1) + rgb_C * alpha_hw1 + 128) >> 8
    return canvas_HWC.astype(np.uint8)


def coverage(item: SceneObject, size: int) -> tuple[np.ndarray, slice, slice]:
    """Opacity of one object, 0 to 256, int32 [h, w], and the rows and columns of its box."""
    reach = item.radius * (1.3 if item.kind == "digit" else 1.0)
    rows, columns = (_span(center, reach, size) for center in (item.y, item.x))
    draw = _digit_alpha if item.kind == "digit" else _shape_alpha
    return draw(item, size, rows, columns), rows, columns


def _span(center: float, reach: float, size: int) -> slice:
    first = int((center - reach) * size) - 1
    last = int((center + reach) * size) + 2
    return slice(max(0, first), min(size, last))


def _background(background: Background, size: int) -> np.ndarray:
    ramp = 2 * np.arange(size, dtype=np.int32) + 1 - size
    slope_HW = (ramp * background.gradient_x)[None, :] + (ramp * background.gradient_y)[:, None]
    canvas_HWC = np.array(background.rgb, dtype=np.int32) + (slope_HW // (2 * size))[:, :, None]
    if background.noise:
        noise = noise_bytes(background.noise_key, size * size * 3).astype(np.int32)
        noise = (noise * (2 * background.noise + 1) >> 8) - background.noise
        canvas_HWC += noise.reshape(size, size, 3)
    return np.minimum(np.maximum(canvas_HWC, 0), 255)


def _offsets(item: SceneObject, rows: slice, columns: slice, scale: int, samples: int):
    """Sample centres relative to the object's centre, in 1 / (UNITS · scale) of the canvas."""
    offsets = []
    for center, span in ((item.x, columns), (item.y, rows)):
        k = np.arange(span.start * samples, span.stop * samples, dtype=np.int64)
        offsets.append((2 * k + 1) * UNITS - int(center * UNITS) * scale)
    return offsets


def _shape_alpha(item: SceneObject, size: int, rows: slice, columns: slice) -> np.ndarray:
    samples = 4
    scale = 2 * size * samples
    dx, dy = _offsets(item, rows, columns, scale, samples)
    radius = int(item.radius * UNITS) * scale
    if item.kind == "circle":
        inside = (dx * dx)[None, :] + (dy * dy)[:, None] <= radius * radius
    elif item.kind == "square":
        # Circumscribed radius r: the sides are r / sqrt(2) from the centre.
        inside = _half_planes(dx, dy, item.rotation, 4, radius * cosine(45)) == 4
    elif item.kind == "triangle":
        inside = _half_planes(dx, dy, item.rotation + 90, 3, radius * ONE // 2) == 3
    else:
        # A pentagram is where at least four of its five lines' half planes meet.
        inside = _half_planes(dx, dy, item.rotation - 90, 5, radius * _STAR_APOTHEM) >= 4
    h, w = rows.stop - rows.start, columns.stop - columns.start
    by_row = inside.reshape(h, samples, w * samples).sum(axis=1, dtype=np.int32)
    hits = by_row.reshape(h, w, samples).sum(axis=2, dtype=np.int32)
    return hits * (256 // (samples * samples))


def _half_planes(
    dx: np.ndarray, dy: np.ndarray, first: int, count: int, apothem: int
) -> np.ndarray:
    """How many of `count` half planes, normals `360 / count` degrees apart, hold each sample."""
    total = np.zeros((dy.size, dx.size), dtype=np.int8)
    for k in range(count):
        angle = first + 360 * k // count
        total += (dx * cosine(angle))[None, :] + (dy * sine(angle))[:, None] <= apothem
    return total


def _digit_alpha(item: SceneObject, size: int, rows: slice, columns: slice) -> np.ndarray:
    scale = 2 * size
    dx, dy = _offsets(item, rows, columns, scale, 1)
    cos, sin = cosine(item.rotation), sine(item.rotation)
    half_height = int(item.radius * UNITS) * scale * ONE
    half_width = half_height // 100 * item.narrowing
    u = (dx * cos)[None, :] + (dy * sin)[:, None]
    v = (dy * cos)[:, None] - (dx * sin)[None, :]
    # The 8 x 8 image spans the box: 4 source pixels a half side, 8 fractional bits.
    u = u * (4 * 256) // half_width + 7 * 128
    v = v * (4 * 256) // half_height + 7 * 128
    # A border of zeros stands for everything outside the image.
    padded = np.zeros((12, 12), dtype=np.int32)
    padded[2:10, 2:10] = load_digit_bank().images_NHW[item.digit_index]
    i, j = np.clip(v >> 8, -2, 8) + 2, np.clip(u >> 8, -2, 8) + 2
    fu, fv = u & 255, v & 255
    flat = padded.ravel()
    at = i * 12 + j
    top = flat[at] * (256 - fu) + flat[at + 1] * fu
    low = flat[at + 12] * (256 - fu) + flat[at + 13] * fu
    ink = top * (256 - fv) + low * fv
    alpha = ink * _INK_GAIN_NUM // (_INK_GAIN_DEN * 65536)
    return np.minimum(alpha, 256).astype(np.int32)
