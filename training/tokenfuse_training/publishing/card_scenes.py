"""What the card of a model says that was trained on scenes alone."""

from __future__ import annotations

__all__ = ["DIGITS", "LIMITS", "WHAT"]

WHAT = """answers questions about pictures of coloured shapes and handwritten digits. It is made
for these pictures and these words alone; on photographs its answers mean nothing."""

DIGITS = """
The digits are those of scikit-learn's `load_digits` (UCI, 1,797 images), split by image: no
training scene shows a digit of a test scene.
"""

LIMITS = """Five colours (red, green, blue, yellow, purple), four shapes (circle, square, triangle,
star) and single digits, one to five objects that do not touch, on a ground of one colour with
little noise or slope. Shapes are 12 to 22 of the picture's 64 pixels across and turned by at most
15 degrees: a square on its corner or a triangle upside down is none to it. "Left of" and the like
are about centres that differ by an eighth of the picture or more."""
