"""A model's operations by the type that computes them, and the least time that they can take.

The counts are those of the plain maths (`tokenfuse flops`). The engine folds some products into
constants, so it does a few less; a greedy decoder with a cache does a few less as well.

Symbols: S image tokens, L text tokens, N latents, A answer tokens, C / D image and fusion widths.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import UnsupportedModelError
from tokenfuse_sdk.flops import FLOPS_PER_MAC, count_flops
from tokenfuse_sdk.weights import expected_tensors

__all__ = ["ANSWER_TOKENS", "STAGES", "TEXT_TOKENS", "Limit", "Operations", "count", "limit"]

TEXT_TOKENS, ANSWER_TOKENS = 12, 2
STAGES = ("image", "question")
_WEIGHT_BYTES = {"fp32": 4, "bf16": 2, "int8": 1}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """Multiply-accumulates of one stage, or of both.

    Attributes:
        dense: of linear layers, which compute in the engine's precision.
        attention: scores and weighted sums: in 16-bit integers beside 8-bit linear layers, in
            float32 beside the others.
        convolution: of the picture's stem, in float32.
        dense_weights: numbers that the linear layers read once.
        other_weights: numbers that the convolutions read once.
    """

    dense: int
    attention: int
    convolution: int
    dense_weights: int
    other_weights: int

    @property
    def flops(self) -> int:
        return FLOPS_PER_MAC * (self.dense + self.attention + self.convolution)

    def __add__(self, other: Operations) -> Operations:
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        names = [field.name for field in dataclasses.fields(self)]
        return Operations(**{name: a + b for name, (a, b) in zip(names, pairs, strict=True)})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The least seconds that this machine can take.

    Attributes:
        arithmetic: all operations at the peaks of their types, one after the other.
        memory: all weights read once at the bandwidth of a copy.
    """

    arithmetic: float
    memory: float

    @property
    def seconds(self) -> float:
        """Both at once."""
        return max(self.arithmetic, self.memory)


def _attention(config: ModelConfig, stage: str) -> int:
    vision, text, fusion, decoder = config.vision, config.text, config.fusion, config.decoder
    n, width = fusion.num_latents, fusion.width
    # Scores and weighted sum; the spatial resampler has no scores.
    products = 2 if fusion.resampler == "latent" else 1
    if stage == "image":
        layers = vision.num_layers * 2 * vision.num_tokens**2 * vision.width
        return layers + products * n * vision.num_tokens * width
    text_inner, inner = text.num_heads * text.head_dim, decoder.num_heads * decoder.head_dim
    return (
        text.num_layers * 2 * TEXT_TOKENS**2 * text_inner
        + products * n * TEXT_TOKENS * width
        + (fusion.num_iterations + fusion.num_layers) * 2 * n**2 * width
        + decoder.num_layers * 2 * ANSWER_TOKENS * (ANSWER_TOKENS + n) * inner
    )


def _weights(config: ModelConfig, stage: str) -> tuple[int, int]:
    """Numbers of the linear layers, and of the convolutions."""
    dense = convolution = 0
    for name, shape in expected_tensors(config).items():
        is_image = name.startswith(("vision.", "image_projection.", "fusion.image_resampler."))
        if is_image != (stage == "image") or not name.endswith(".weight"):
            continue
        # The patch embedding is a linear over patches.
        if len(shape) == 4 and name != "vision.patch.weight":
            convolution += math.prod(shape)
        elif len(shape) in (2, 4) and "embedding" not in name and "relative_bias" not in name:
            dense += math.prod(shape)
    return dense, convolution


def count(config: ModelConfig, stage: str) -> Operations:
    """Operations of one of `STAGES`: a picture's, or a question's with its answer.

    Raises:
        UnsupportedModelError: the fusion is one of the baselines.
    """
    if config.fusion.kind != "joint_adaptive":
        raise UnsupportedModelError(
            f"fusion.kind={config.fusion.kind!r} does not run in the engine; pass a model of kind "
            "'joint_adaptive'"
        )
    report = count_flops(
        config, num_text_tokens=TEXT_TOKENS, num_answer_tokens=ANSWER_TOKENS, token_budget=None
    )
    rows = {row.name: row.macs for row in report.rows if row.stage == stage}
    convolution = rows.get("vision.stem", 0)
    attention = _attention(config, stage)
    dense_weights, other_weights = _weights(config, stage)
    return Operations(
        dense=sum(rows.values()) - convolution - attention,
        attention=attention,
        convolution=convolution,
        dense_weights=dense_weights,
        other_weights=other_weights,
    )


def limit(work: Operations, precision: str, best: Mapping[str, float], copy: float) -> Limit | None:
    """The least time of an engine whose linear layers have the precision.

    Args:
        work: what is done.
        precision: "fp32", "bf16" or "int8".
        best: operations per second by precision; must hold "fp32".
        copy: bytes per second, read and written.

    Returns:
        None where this CPU has no multiply-adds of the precision.
    """
    if precision not in best:
        return None
    # Below fp32 it is in 16-bit integers: an instruction holds half as many products as in 8 bits.
    attention_rate = best["int8"] / 2 if precision != "fp32" and "int8" in best else best["fp32"]
    seconds = (
        work.dense / best[precision]
        + work.attention / attention_rate
        + work.convolution / best["fp32"]
    )
    return Limit(
        arithmetic=FLOPS_PER_MAC * seconds,
        memory=(_WEIGHT_BYTES[precision] * work.dense_weights + 4 * work.other_weights) / copy,
    )
