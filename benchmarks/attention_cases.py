"""Benchmark cases of an attention op, beside PyTorch's in float32."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from op_case import op_case
from timing import Case

__all__ = ["attention_cases"]

# (what, queries, keys, heads, head width)
_SHAPES = [
    ("nano, image encoder", 64, 64, 4, 32),
    ("nano, decoder step", 1, 16, 4, 32),
    ("tiny, image encoder", 196, 196, 3, 64),
]


def attention_cases(
    op: Callable[..., np.ndarray], options: argparse.Namespace, *, tolerance: float = 1e-4
) -> list[Case]:
    rng = np.random.default_rng(0)
    made = []
    for what, queries, keys, heads, width in _SHAPES:
        shapes = ((queries, heads, width), (keys, heads, width), (keys, heads, width))
        q, k, v = (rng.standard_normal(s).astype(np.float32) for s in shapes)
        parts = [torch.from_numpy(a).transpose(0, 1)[None].contiguous() for a in (q, k, v)]
        made.append(
            op_case(
                f"{what}: {queries} queries, {keys} keys, {heads} heads of {width}",
                lambda isa, q=q, k=k, v=v, c=width**-0.5: op(
                    q, k, v, scale=c, isa=isa, num_threads=options.num_threads
                ),
                lambda parts=parts: torch.nn.functional.scaled_dot_product_attention(*parts)[
                    0
                ].transpose(0, 1),
                num_threads=options.num_threads,
                macs=2 * queries * keys * heads * width,
                tolerance=tolerance,
            )
        )
    return made
