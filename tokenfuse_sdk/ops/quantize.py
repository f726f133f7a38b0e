"""quantize: q = round(x / s), s = max |x| / 127 per row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tokenfuse_sdk.ops.checks import FloatArray, call, checked

__all__ = ["quantize"]


def quantize(x: FloatArray, *, isa: str = "") -> tuple[NDArray[np.int8], FloatArray]:
    """Rows to 8-bit integers: `q_MK = round(x_MK / s_M)`, `s_M = max_K |x_MK| / 127`.

    Symmetric and per row, so that activations need no calibration data; per output channel when
    the rows are weights. Ties go to even. Every instruction set gives the same bytes.

    Args:
        x: (M, K) float32; rows may be strided.
        isa: instruction set, "" for the best.

    Returns:
        q (M, K) int8 in -127..127, and s (M,) float32. A row whose largest value is below 1e-30
        has q = 0 and s = 0; a row with NaN or infinity has s = NaN.

    Raises:
        OpError: a shape or dtype that does not fit.
    """
    q, scale, _ = call("quantize", checked("x", x, "MK"), isa)
    return q, scale
