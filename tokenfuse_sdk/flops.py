"""Multiply-accumulates and FLOPs of any config, by module, without running it.

Convention: **1 MAC = 2 FLOPs**. Counted are matrix products, convolutions and the
two products of every attention (scores and weighted sum), for one picture and one
question. Left out: biases, norms, activations, softmax, residual and gate additions,
embedding look-ups, position biases, preprocessing and tokenising.

Counted is the plain maths of the PyTorch reference: nothing is folded into constants,
and the decoder runs once over all answer positions (teacher forcing). Greedy decoding
with a KV cache has the same products except the masked half of its self-attention,
A(A-1)/2 of the A*A query-key pairs.

Symbols: S image tokens, L text tokens, N latents in use, A answer positions, C / T / D
image, text and fusion widths.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from tokenfuse_sdk.config import DecoderConfig, FusionConfig, ModelConfig, TextConfig, VisionConfig
from tokenfuse_sdk.integers import checked_int

__all__ = ["FLOPS_PER_MAC", "FlopReport", "FlopRow", "count_flops"]

FLOPS_PER_MAC = 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FlopRow:
    """One module's cost.

    `name` is the module's name in the reference; `*` stands for every index.
    `stage` is "image" for what depends on the picture alone (paid once per
    picture) and "question" for what every question pays.
    """

    name: str
    stage: str
    macs: int

    @property
    def flops(self) -> int:
        """Floating-point operations: 2 per MAC."""
        return FLOPS_PER_MAC * self.macs


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FlopReport:
    """The cost of one picture and one question, by module."""

    model: str
    kind: str
    num_text_tokens: int
    num_answer_tokens: int
    token_budget: int
    rows: tuple[FlopRow, ...]

    @property
    def total_macs(self) -> int:
        return sum(row.macs for row in self.rows)

    @property
    def total_flops(self) -> int:
        return FLOPS_PER_MAC * self.total_macs

    @property
    def image_flops(self) -> int:
        """FLOPs paid once per picture."""
        return sum(row.flops for row in self.rows if row.stage == "image")

    @property
    def question_flops(self) -> int:
        """FLOPs paid by every question, the answer included."""
        return sum(row.flops for row in self.rows if row.stage == "question")

    @property
    def fusion_flops(self) -> int:
        """FLOPs between encoders and decoder: resampling, fusing and its layers."""
        return sum(row.flops for row in self.rows if row.name.startswith("fusion."))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, with both counts of every row and the totals."""
        return {
            "model": self.model,
            "kind": self.kind,
            "num_text_tokens": self.num_text_tokens,
            "num_answer_tokens": self.num_answer_tokens,
            "token_budget": self.token_budget,
            "flops_per_mac": FLOPS_PER_MAC,
            "modules": [
                {
                    "name": row.name,
                    "stage": row.stage,
                    "macs": row.macs,
                    "flops": row.flops,
                    "gmacs": row.macs / 1e9,
                    "gflops": row.flops / 1e9,
                }
                for row in self.rows
            ],
            "image_flops": self.image_flops,
            "question_flops": self.question_flops,
            "fusion_flops": self.fusion_flops,
            "total_macs": self.total_macs,
            "total_flops": self.total_flops,
            "gmacs": self.total_macs / 1e9,
            "gflops": self.total_flops / 1e9,
        }


def _attention(num_queries: int, num_keys: int, width: int, inner: int) -> int:
    projections = 2 * num_queries * width * inner + 2 * num_keys * width * inner
    return projections + 2 * num_queries * num_keys * inner


def _mlp(num_tokens: int, width: int, hidden: int) -> int:
    return 2 * num_tokens * width * hidden


def _gated_mlp(num_tokens: int, width: int, hidden: int) -> int:
    return 3 * num_tokens * width * hidden


def _self_layer(num_tokens: int, width: int, hidden: int) -> int:
    return _attention(num_tokens, num_tokens, width, width) + _mlp(num_tokens, width, hidden)


def _vision(config: VisionConfig) -> Iterator[tuple[str, int]]:
    side, num_in, stem = config.image_size, 3, 0
    for num_out in config.stem_widths:
        side //= 2
        stem += side * side * num_out * num_in * 9
        num_in = num_out
    if config.stem_widths:
        yield "vision.stem", stem
    pixels = num_in * config.patch_kernel**2
    yield "vision.patch", config.grid_size**2 * config.width * pixels
    layer = _self_layer(config.num_tokens, config.width, config.mlp_dim)
    yield "vision.layers", config.num_layers * layer


def _text(config: TextConfig, num_tokens: int) -> int:
    inner = config.num_heads * config.head_dim
    layer = _attention(num_tokens, num_tokens, config.width, inner)
    layer += _gated_mlp(num_tokens, config.width, config.mlp_dim)
    return config.num_layers * layer


def _decoder(text: TextConfig, config: DecoderConfig, num_answer: int, num_fused: int) -> int:
    inner = config.num_heads * config.head_dim
    layer = _attention(num_answer, num_answer, text.width, inner)
    layer += _attention(num_answer, num_fused, text.width, inner)
    layer += _gated_mlp(num_answer, text.width, config.mlp_dim)
    return config.num_layers * layer


def _resampler(config: FusionConfig, num_tokens: int, num_latents: int) -> int:
    if config.resampler == "latent":
        return _attention(num_latents, num_tokens, config.width, config.width)
    # The weights of all N latents are computed; a budget cuts only the weighted sum.
    weights = num_tokens * config.resampler_hidden * (config.width + config.num_latents)
    return weights + num_latents * num_tokens * config.width


def _joint_adaptive(
    config: FusionConfig, num_text: int, num_latents: int
) -> Iterator[tuple[str, int]]:
    n, width, iterations = num_latents, config.width, config.num_iterations
    yield "fusion.text_resampler", _resampler(config, num_text, n)
    yield "fusion.iterations.*.attention", iterations * _attention(n, n, width, width)
    yield "fusion.iterations.*.mlp", iterations * _mlp(n, width, config.mlp_dim)
    layers = config.num_layers * _self_layer(n, width, config.mlp_dim)
    yield "fusion.iterations.*.layers", layers


def _concat(config: FusionConfig, num_tokens: int) -> Iterator[tuple[str, int]]:
    layer = _self_layer(num_tokens, config.width, config.mlp_dim)
    yield "fusion.layers", config.num_layers * layer


def _cross_attention(
    config: FusionConfig, num_text: int, num_image: int
) -> Iterator[tuple[str, int]]:
    width, layers = config.width, config.num_layers
    cross = _attention(num_text, num_image, width, width)
    yield "fusion.layers.*.cross_attention", layers * cross
    yield "fusion.layers.*.layer", layers * _self_layer(num_text, width, config.mlp_dim)


def _perceiver(config: FusionConfig, num_tokens: int, n: int) -> Iterator[tuple[str, int]]:
    width, iterations = config.width, config.num_iterations
    yield "fusion.iterations.*.attention", iterations * _attention(n, num_tokens, width, width)
    yield "fusion.iterations.*.mlp", iterations * _mlp(n, width, config.mlp_dim)
    layer = _self_layer(n, width, config.mlp_dim)
    yield "fusion.iterations.*.layers", iterations * layer
    yield "fusion.layers", max(config.num_layers - iterations, 0) * layer


def _co_tokenization(config: FusionConfig, num_tokens: int, n: int) -> Iterator[tuple[str, int]]:
    width, later = config.width, config.num_iterations - 1
    # From the second iteration on, the last z stands among the keys.
    attention = _attention(n, num_tokens, width, width)
    attention += later * _attention(n, num_tokens + n, width, width)
    yield "fusion.iterations.*.attention", attention
    layers = config.num_layers * _self_layer(n, width, config.mlp_dim)
    yield "fusion.iterations.*.layers", layers


def _fusion(
    config: FusionConfig, num_image: int, num_text: int, num_latents: int
) -> tuple[list[tuple[str, int]], int]:
    """Rows that every question pays, and the number of tokens the decoder reads."""
    joined = num_image + num_text
    if config.kind == "joint_adaptive":
        return list(_joint_adaptive(config, num_text, num_latents)), num_latents
    if config.kind == "concat":
        return list(_concat(config, joined)), joined
    if config.kind == "cross_attention":
        return list(_cross_attention(config, num_text, num_image)), num_text
    if config.kind == "perceiver":
        return list(_perceiver(config, joined, num_latents)), num_latents
    assert config.kind == "co_tokenization"
    return list(_co_tokenization(config, joined, num_latents)), num_latents


def count_flops(
    config: ModelConfig,
    *,
    num_text_tokens: int = 12,
    num_answer_tokens: int = 2,
    token_budget: int | None = None,
) -> FlopReport:
    """The cost of one picture and one question, by module (convention: see the module).

    Args:
        config: any model, of any fusion kind.
        num_text_tokens: L, task prefix and end token included.
        num_answer_tokens: A, decoder positions: one per produced token, the end included.
        token_budget: latents in use; None is the full budget. `concat` and
            `cross_attention` have no latents, so it changes nothing there.

    Raises:
        ConfigError: a count is below 1 or above what the config allows.
        TokenBudgetError: not one of the config's budgets.
    """
    vision, text, fusion = config.vision, config.text, config.fusion
    num_text_tokens = checked_int("num_text_tokens", num_text_tokens, 1, text.max_tokens)
    most = config.decoder.max_tokens
    num_answer_tokens = checked_int("num_answer_tokens", num_answer_tokens, 1, most)
    num_latents = fusion.check_budget(token_budget)

    image = list(_vision(vision))
    image.append(("image_projection", vision.num_tokens * vision.width * fusion.width))
    if fusion.kind == "joint_adaptive":
        cost = _resampler(fusion, vision.num_tokens, num_latents)
        image.append(("fusion.image_resampler", cost))

    fused_rows, num_fused = _fusion(fusion, vision.num_tokens, num_text_tokens, num_latents)
    question = [
        ("text.layers", _text(text, num_text_tokens)),
        ("text_projection", num_text_tokens * text.width * fusion.width),
        *fused_rows,
        ("fused_projection", num_fused * fusion.width * text.width),
        ("decoder.layers", _decoder(text, config.decoder, num_answer_tokens, num_fused)),
        ("decoder.lm_head", num_answer_tokens * text.width * text.vocab_size),
    ]
    rows = [FlopRow(name=name, stage="image", macs=macs) for name, macs in image]
    rows += [FlopRow(name=name, stage="question", macs=macs) for name, macs in question]
    return FlopReport(
        model=config.name,
        kind=fusion.kind,
        num_text_tokens=num_text_tokens,
        num_answer_tokens=num_answer_tokens,
        token_budget=num_latents,
        rows=tuple(rows),
    )
