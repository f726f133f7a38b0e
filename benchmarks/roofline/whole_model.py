"""Medians of a whole model: a picture encoded, a question answered."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from operations import ANSWER_TOKENS, STAGES, TEXT_TOKENS, Limit, Operations, count, limit

from tokenfuse_sdk.bundle import read_bundle
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.runtime import Runtime, open_runtime, place
from tokenfuse_sdk.shipped import find_bundle
from tokenfuse_sdk.sizes import SIZES, named_config
from tokenfuse_sdk.weights import expected_tensors

__all__ = ["ModelRow", "model_rows", "open_model"]

_WARM_UP, _TRIES = 2, 200
Weights = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One stage of a model, or "whole", in one precision.

    Attributes:
        model, precision, threads, stage: what was measured.
        gflop: of the plain maths.
        median_ms, quartiles_ms: measured.
        arithmetic_ms, memory_ms: the least that either takes; None without such instructions.
        share: of the limit: the larger of the two over the median.
    """

    model: str
    precision: str
    threads: int
    stage: str
    gflop: float
    median_ms: float
    quartiles_ms: tuple[float, float]
    arithmetic_ms: float | None
    memory_ms: float | None
    share: float | None


def _random_weights(config: ModelConfig) -> Weights:
    rng = np.random.default_rng(0)
    return {
        # Norms and gates of about 1, matrices that keep the scale.
        name: rng.standard_normal(shape, dtype=np.float32) / shape[-1] ** 0.5
        if len(shape) > 1
        else np.ones(shape, np.float32)
        for name, shape in expected_tensors(config).items()
    }


def open_model(name: str) -> tuple[ModelConfig, Weights]:
    """A named size with random weights, or a bundle.

    Raises:
        BundleError: there is no such bundle, or it is damaged.
    """
    if name in SIZES:
        config = named_config(name)
        return config, _random_weights(config)
    bundle = read_bundle(find_bundle(name))
    return bundle.config, bundle.weights


def _question(runtime: Runtime, f_ND: np.ndarray, vocab_size: int) -> np.ndarray:
    """Random ids whose answer has all its tokens; one that ends early is less work."""
    rng = np.random.default_rng(1)
    for _ in range(_TRIES):
        text = rng.integers(2, vocab_size, TEXT_TOKENS).astype(np.int32)
        if len(runtime.generate(f_ND, text, ANSWER_TOKENS)[0]) == ANSWER_TOKENS:
            return text
    raise SystemExit("the model answers random questions with nothing; there is nothing to time")


def _time(
    config: ModelConfig, weights: Weights, precision: str, num_threads: int, rounds: int
) -> dict[str, list[float]]:
    """Seconds of each round, by stage."""
    rng = np.random.default_rng(0)
    runtime = open_runtime(config, weights, place("cpu", precision, num_threads))
    side, budget = config.vision.image_size, config.fusion.num_latents
    image = rng.uniform(-1, 1, (side, side, 3)).astype(np.float32)
    text = _question(runtime, runtime.encode_image(image, budget), config.text.vocab_size)
    seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for turn in range(_WARM_UP + rounds):
        began = time.perf_counter()
        f_ND = runtime.encode_image(image, budget)
        encoded = time.perf_counter()
        runtime.generate(f_ND, text, ANSWER_TOKENS)
        done = time.perf_counter()
        if turn >= _WARM_UP:
            seconds["image"].append(encoded - began)
            seconds["question"].append(done - encoded)
    return seconds


def _row(seconds: list[float], work: Operations, least: Limit | None, **facts: Any) -> ModelRow:
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return ModelRow(
        gflop=work.flops / 1e9,
        median_ms=1e3 * median,
        quartiles_ms=(1e3 * low, 1e3 * high),
        arithmetic_ms=None if least is None else 1e3 * least.arithmetic,
        memory_ms=None if least is None else 1e3 * least.memory,
        share=None if least is None else least.seconds / median,
        **facts,
    )


def model_rows(
    name: str,
    config: ModelConfig,
    weights: Weights,
    *,
    precision: str,
    num_threads: int,
    rounds: int,
    best: Mapping[str, float],
    copy: float,
) -> list[ModelRow]:
    """The image, the question, and the whole answer.

    Args:
        name: for the rows.
        config, weights: of `open_model`.
        precision, num_threads: of the engine.
        rounds: that count, from 2.
        best, copy: this machine's peaks, as `operations.limit` takes them.
    """
    seconds = _time(config, weights, precision, num_threads, rounds)
    seconds["whole"] = [sum(stages) for stages in zip(*seconds.values(), strict=True)]
    work = {stage: count(config, stage) for stage in STAGES}
    work["whole"] = work["image"] + work["question"]
    return [
        _row(
            seconds[stage],
            work[stage],
            limit(work[stage], precision, best, copy),
            model=name,
            precision=precision,
            threads=num_threads,
            stage=stage,
        )
        for stage in seconds
    ]
