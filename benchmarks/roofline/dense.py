"""Linear layers of a model by themselves.

`tokenfuse_sdk.ops.linear` packs its weights at every call, which the engine does not: the time
is the difference of a call with 3 times the rows and one with the rows, in which packing and the
start of threads cancel.
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np
from operations import TEXT_TOKENS

from tokenfuse_sdk import _native
from tokenfuse_sdk.config import ModelConfig

__all__ = ["DenseRow", "dense_rows"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DenseRow:
    """One layer in float32: microseconds, and the share of the peak."""

    model: str
    op: str
    rows: int
    outputs: int
    inputs: int
    threads: int
    us: float
    gflops_per_s: float
    share_of_peak: float


def _shapes(config: ModelConfig) -> dict[str, tuple[int, int, int]]:
    """Name to rows, outputs and inputs of the layers that most of the work is in."""
    vision, fusion, text = config.vision, config.fusion, config.text
    num_tokens, width = vision.num_tokens, vision.width
    latents = fusion.num_latents
    return {
        "image: query, key, value": (num_tokens, 3 * width, width),
        "image: attention output": (num_tokens, width, width),
        "image: MLP up": (num_tokens, vision.mlp_dim, width),
        "image: MLP down": (num_tokens, width, vision.mlp_dim),
        "fusion: MLP up": (latents, fusion.mlp_dim, fusion.width),
        "fusion: MLP down": (latents, fusion.width, fusion.mlp_dim),
        "text: gate and up": (TEXT_TOKENS, 2 * text.mlp_dim, text.width),
    }


def _seconds(shape: tuple[int, int, int], num_threads: int, rounds: int) -> float:
    """Of the product alone: see the module's first lines."""
    rows, num_out, num_in = shape
    rng = np.random.default_rng(0)
    w = rng.standard_normal((num_out, num_in), dtype=np.float32)
    few = rng.standard_normal((rows, num_in), dtype=np.float32)
    many = np.concatenate([few] * 3)
    isa = _native.chosen_isa()

    def once(x: np.ndarray) -> float:
        began = time.perf_counter()
        _native.linear(x, w, None, None, "none", isa, num_threads)
        return time.perf_counter() - began

    for x in (few, many):
        once(x)
    pairs = [(once(few), once(many)) for _ in range(5 * rounds)]
    # The least of each: a difference of medians would keep the noise of both.
    return max((min(b for _, b in pairs) - min(a for a, _ in pairs)) / 2, 1e-9)


def dense_rows(
    name: str, config: ModelConfig, *, peak: float, num_threads: int, rounds: int
) -> list[DenseRow]:
    """The layers that most of the work is in, beside a peak in operations per second."""
    made = []
    for op, (rows, outputs, inputs) in _shapes(config).items():
        seconds = _seconds((rows, outputs, inputs), num_threads, rounds)
        rate = 2 * rows * outputs * inputs / seconds
        made.append(
            DenseRow(
                model=name,
                op=op,
                rows=rows,
                outputs=outputs,
                inputs=inputs,
                threads=num_threads,
                us=1e6 * seconds,
                gflops_per_s=rate / 1e9,
                share_of_peak=rate / peak,
            )
        )
    return made
