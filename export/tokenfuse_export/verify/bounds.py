"""How far from the float32 reference a precision may be: one number each, and what follows from it.

The number is r, the root mean square of an output's error over that of the output. Errors of many
roundings add up like independent ones, so

    cosine >= 1 - r^2 / 2        of an output with such an error across it;
    worst element <= 4 r         of some thousand normal errors, over the root mean square.

fp32: sums in another order, at most 2.5e-5, so that the worst logit is within 1e-4; what is measured
    is 1e-6 to 1e-5. Logits have a root mean square of about 10, and must be within 1e-4 as they
    are: see `FP32_LOGIT`.
fp16, bf16: some 20 linears in a row round inputs and weights, each by half a place, 2^-11 and 2^-8
    of a value at most: sqrt(20) of those is 0.0022 and 0.0175. Rounded up to powers of two; 4 r is
    `GOLDEN_BOUND_16`, which the SDK holds its own engines to.
int8, int8_fp16: weights and activations are off by up to half a step of 1/127 of their largest
    value, about 1% of their root mean square; some 20 linears in a row make a few percent of it. At
    a cosine of 0.99, r is 0.14.
"""

from __future__ import annotations

import dataclasses
import math

from tokenfuse_sdk.golden import GOLDEN_BOUND, GOLDEN_BOUND_16

__all__ = ["BOUNDS", "FP32_LOGIT", "Bound"]

_WORST = 4.0
# The worst absolute error of fp32 logits whose root mean square is up to 10; in proportion beyond.
FP32_LOGIT = 1e-4
_LOGIT_SIZE = 10.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What one precision may be off.

    Attributes:
        share: r.
        most_logit: of the absolute error of logits of usual size.
    """

    share: float
    most_logit: float = math.inf

    @property
    def worst(self) -> float:
        """Of the worst element, over the root mean square of the output."""
        return _WORST * self.share

    @property
    def cosine(self) -> float:
        """The least."""
        return 1.0 - self.share**2 / 2

    def logit(self, size: float) -> float:
        """The worst absolute error of logits whose root mean square is `size`."""
        return min(self.worst * size, self.most_logit * max(1.0, size / _LOGIT_SIZE))


_INT8 = Bound(share=math.sqrt(2 * (1 - 0.99)))
BOUNDS = {
    "fp32": Bound(share=GOLDEN_BOUND / _WORST, most_logit=FP32_LOGIT),
    "fp16": Bound(share=GOLDEN_BOUND_16["fp16"] / _WORST),
    "bf16": Bound(share=GOLDEN_BOUND_16["bf16"] / _WORST),
    "int8": _INT8,
    "int8_fp16": _INT8,
}
