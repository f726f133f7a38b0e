"""Pictures with their questions and answers on one sheet, as PNG."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

__all__ = ["contact_sheet"]

_SIDE, _MARGIN, _LINE, _COLUMNS = 288, 16, 19, 3
_PAPER, _INK, _ANSWER = (255, 255, 255), (40, 40, 40), (0, 90, 170)


def contact_sheet(entries: Sequence[tuple[pathlib.Path, Sequence[tuple[str, str]]]]) -> bytes:
    """PNG bytes.

    Args:
        entries: a picture's path and its (question, answer) pairs.
    """
    font = ImageFont.load_default(size=14)
    most = max(len(pairs) for _, pairs in entries)
    cell = (_SIDE + _MARGIN, _SIDE + 2 * _LINE * most + 2 * _MARGIN)
    num_rows = -(-len(entries) // _COLUMNS)
    size = (cell[0] * min(_COLUMNS, len(entries)) + _MARGIN, cell[1] * num_rows + _MARGIN)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, (path, pairs) in enumerate(entries):
        left = _MARGIN + cell[0] * (index % _COLUMNS)
        top = _MARGIN + cell[1] * (index // _COLUMNS)
        with Image.open(path) as picture:
            # Whole pixels stay sharp: the model sees no more than these.
            fitted = picture.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
        sheet.paste(fitted, (left, top))
        line = top + _SIDE + 6
        for question, answer in pairs:
            draw.text((left, line), question, fill=_INK, font=font)
            draw.text((left + 12, line + _LINE), answer, fill=_ANSWER, font=font)
            line += 2 * _LINE
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
