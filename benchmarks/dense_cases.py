"""Benchmark cases of a dense layer with float32 inputs, beside PyTorch's in float32."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np
import torch
from op_case import op_case
from timing import Case

__all__ = ["dense_cases"]


def dense_cases(
    op: Callable[..., np.ndarray],
    shapes: Sequence[tuple[str, int, int, int]],
    rounded: Callable[[torch.Tensor], torch.Tensor],
    options: argparse.Namespace,
) -> list[Case]:
    """`shapes` are what, M, N and K; `rounded` gives values that the op's own type holds, so that
    both multiply the same."""
    rng = np.random.default_rng(0)
    made = []
    for what, m, n, k in shapes:
        tensors = [
            rounded(torch.from_numpy(rng.standard_normal(s).astype(np.float32)))
            for s in ((m, k), (n, k), (n,))
        ]
        x, w, b = (tensor.numpy() for tensor in tensors)
        made.append(
            op_case(
                f"{what}: ({m}, {k}) x ({k}, {n})",
                lambda isa, x=x, w=w, b=b: op(x, w, b, isa=isa, num_threads=options.num_threads),
                lambda tensors=tensors: torch.nn.functional.linear(*tensors),
                num_threads=options.num_threads,
                macs=m * n * k,
            )
        )
    return made
