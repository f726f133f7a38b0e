"""How far from the float32 reference a precision may be: one number each, and what follows from it.

The number is r, the root mean square of an output's error over that of the output. Errors of many
roundings add up like independent ones, so

    cosine >= 1 - r^2 / 2        of an output with such an error across it;
    worst element <= 4 r         of some thousand normal errors, over the root mean square.

fp32: sums in another order, at most 2.5e-5, so that the worst element is within 1e-4; what is
    measured is 1e-6 to 2e-5. Logits have a root mean square of about 10, and must be within 1e-4
    as they are: `FP32_LOGIT`.
fp16, bf16: a graph rounds the inputs, weights and outputs of some 70 linears one after the other:
    200 roundings of 2^-12 and 2^-9 of a value on average, whose squares add up to 0.0035 and 0.028.
    Four times that, as a power of two, because a norm after a difference of near values magnifies
    what was rounded before: on scenes-nano PyTorch's own 16-bit modules are off by up to 0.003 and
    0.023, OpenVINO by 0.0006 and 0.06.
int8, int8_fp16: weights and activations are off by up to half a step of 1/127 of their largest
    value, about 1% of their root mean square; some 70 linears in a row make ten percent of it. At a
    cosine of 0.99, r is 0.14. A token's largest value decides the steps of all of it, so that a few
    values are off by far more than others, 9 r on scenes-nano: of tokens 16 r.

A tie is another id where the reference's best two logits are no farther apart than errors of the
size that was measured at this step make of them: two independent ones of a standard deviation s
differ by sqrt(2) s, and by four times that once in 30,000. So 4 sqrt(2) s, and never more than the
bound of a logit. Taken over the vocabulary, s is not that of the two logits alone: what turns them
while the others are right is no tie, nor is an id that is not the runtime's own best. No more
answers may be ties than the reference has with its two best logits within r of each other: of the
12 of scenes-nano 3 in bf16 and int8, and none in fp32 and fp16.

The cache of keys and values changes the order of sums and the places of a few roundings, not the
precision of any: half of r. What is measured is a fifth of that at most; a cache in the wrong order
is off by 0.1 on a small random model.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tokenfuse_sdk.golden import GOLDEN_BOUND

__all__ = ["BOUNDS", "FP32_LOGIT", "Bound"]

_WORST, _WORST_INT8 = 4.0, 16.0
_TIE = 4.0 * math.sqrt(2.0)
# The worst absolute error of fp32 logits whose root mean square is up to 10; in proportion beyond.
FP32_LOGIT = 1e-4
_LOGIT_SIZE = 10.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What one precision may be off.

    Attributes:
        share: r.
        times: the worst element of tokens may be so many of these.
        most_logit: of the absolute error of logits of usual size.
    """

    share: float
    times: float = _WORST
    most_logit: float = math.inf

    @property
    def worst(self) -> float:
        """Of the worst element of tokens, over the root mean square of all."""
        return self.times * self.share

    @property
    def cosine(self) -> float:
        """The least."""
        return 1.0 - self.share**2 / 2

    @property
    def cache(self) -> float:
        """Of log-probabilities with the cache, beside those without, over the logits' size."""
        return self.share / 2

    def logit(self, size: float) -> float:
        """The worst absolute error of logits whose root mean square is `size`."""
        return min(_WORST * self.share * size, self.most_logit * max(1.0, size / _LOGIT_SIZE))

    def tie(self, size: float, spread: float) -> float:
        """What the reference's best logit may be above the one that was taken in its place.

        Args:
            size: root mean square of the logits of this step.
            spread: standard deviation of their errors, measured.
        """
        return min(_TIE * spread, self.logit(size))

    def to_dict(self) -> dict[str, Any]:
        """For each stage, and for the cache: what a reader of the figures compares them with."""
        tokens = {"max_rel": self.worst, "cosine": self.cosine}
        logits = {"max_rel": _WORST * self.share, "cosine": self.cosine}
        if math.isfinite(self.most_logit):
            logits["max_abs"] = self.most_logit
        return {
            "stages": {"image_tokens": tokens, "fused_tokens": tokens, "logits": logits},
            "cache": self.cache,
        }


_INT8 = Bound(share=math.sqrt(2 * (1 - 0.99)), times=_WORST_INT8)
BOUNDS = {
    "fp32": Bound(share=GOLDEN_BOUND / _WORST, most_logit=FP32_LOGIT),
    "fp16": Bound(share=2.0**-6),
    "bf16": Bound(share=2.0**-3),
    "int8": _INT8,
    "int8_fp16": _INT8,
}
