"""What a piece of work costs at least: operations, bytes, and the time of the slower of the two.

Counted are multiply-accumulates of matrix products, 2 FLOPs each, and the fewest bytes: each input,
weight and output passes between the memory and the chip once, in 16 bits but for pictures.

Symbols: B batch, S tokens of width C, N latents of width D, H heads.
"""

from __future__ import annotations

import dataclasses

from operations import ANSWER_TOKENS, STAGES, TEXT_TOKENS, count

from tokenfuse_sdk.config import ModelConfig

__all__ = ["MergeShape", "Peaks", "Work", "least_work", "merge_work", "model_work"]

_HALF_BYTES, _FLOAT_BYTES, _ID_BYTES = 2, 4, 4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """What this GPU was measured to do.

    Attributes:
        copy_bytes_per_s: of a copy in its memory, read and written.
        flops_per_s: of a product of large square matrices, by precision.
    """

    copy_bytes_per_s: float
    flops_per_s: dict[str, float]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    flops: int
    bytes: int

    def arithmetic_s(self, peaks: Peaks, precision: str) -> float:
        return self.flops / peaks.flops_per_s[precision]

    def memory_s(self, peaks: Peaks) -> float:
        return self.bytes / peaks.copy_bytes_per_s

    def limit_s(self, peaks: Peaks, precision: str) -> float:
        """The least seconds: arithmetic and memory at once."""
        return max(self.arithmetic_s(peaks, precision), self.memory_s(peaks))

    def limited_by(self, peaks: Peaks, precision: str) -> str:
        longer = self.arithmetic_s(peaks, precision) > self.memory_s(peaks)
        return "arithmetic" if longer else "memory"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MergeShape:
    """Tokens of a batch to latents: `f_BND = W2 Phi(X_ND, x_BSC)`, X learned."""

    batch: int
    num_latents: int
    num_tokens: int
    width: int
    num_heads: int

    def __post_init__(self) -> None:
        if self.width % (8 * self.num_heads):
            raise ValueError(f"width={self.width}: need a multiple of 8 for {self.num_heads} heads")

    @property
    def name(self) -> str:
        return (
            f"B {self.batch}, N {self.num_latents}, S {self.num_tokens}, D {self.width}, "
            f"H {self.num_heads}"
        )


def merge_work(shape: MergeShape, form: str) -> Work:
    """Of one form, C = D.

    "folded": scores and sums of the tokens themselves for H N rows, then one matrix (D, H C).
    "projected": keys and values of all tokens, attention, then one matrix (D, D).
    """
    b, n, s = shape.batch, shape.num_latents, shape.num_tokens
    d, h = shape.width, shape.num_heads
    if form == "folded":
        macs = b * (2 * h * n * s * d + h * n * d * d)
        constants = h * n * d + h * d * d
    else:
        assert form == "projected", form
        macs = b * (2 * s * d * d + 2 * n * s * d + n * d * d)
        constants = n * d + 2 * d * d + d * d
    return Work(flops=2 * macs, bytes=_HALF_BYTES * (b * s * d + b * n * d + constants))


def least_work(shape: MergeShape, peaks: Peaks, precision: str) -> Work:
    """Of the form that takes less: every contestant is held against it."""
    forms = (merge_work(shape, form) for form in ("folded", "projected"))
    return min(forms, key=lambda work: work.limit_s(peaks, precision))


def model_work(config: ModelConfig, batch: int) -> Work:
    """Of a whole answer; weights are read once, however many steps the decoder takes.

    Raises:
        UnsupportedModelError: the fusion is one of the baselines.
    """
    stages = [count(config, stage) for stage in STAGES]
    weights = sum(stage.dense_weights + stage.other_weights for stage in stages)
    picture = _FLOAT_BYTES * 3 * config.vision.image_size**2
    words = (TEXT_TOKENS + ANSWER_TOKENS) * (_ID_BYTES + _HALF_BYTES * config.text.width)
    return Work(
        flops=batch * sum(stage.flops for stage in stages),
        bytes=_HALF_BYTES * weights + batch * (picture + words),
    )
