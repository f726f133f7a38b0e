"""Small pictures for the tests of decoding and preprocessing."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

__all__ = ["encoded", "picture"]


def picture(width: int = 20, height: int = 12) -> np.ndarray:
    """Smooth, so that JPEG keeps it; different in all corners."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, 255 - x * 255 // width], -1).astype(
        np.uint8
    )


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()
