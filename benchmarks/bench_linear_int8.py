"""linear_int8: how fast is a dense layer in 8 bits? Packing is part of the op's call, not of the
engine's; PyTorch multiplies the same weights in float32."""

from __future__ import annotations

import argparse

import numpy as np
import torch
from op_case import op_case
from timing import Case, main

from tokenfuse_sdk.ops import linear_int8, quantize

# (what, M, N, K): tiny and small.
SHAPES = [
    ("tiny, image MLP", 196, 768, 192),
    ("tiny, image MLP back", 196, 192, 768),
    ("tiny, fusion MLP", 32, 768, 192),
    ("small, image MLP", 196, 1536, 384),
]


def cases(options: argparse.Namespace) -> list[Case]:
    rng = np.random.default_rng(0)
    made = []
    for what, m, n, k in SHAPES:
        x, b = (rng.standard_normal(s).astype(np.float32) for s in ((m, k), n))
        # Whole numbers that 8 bits hold, so that both multiply the same.
        x = np.rint(x * 127 / np.abs(x).max(axis=1, keepdims=True)).astype(np.float32)
        weight, scale = quantize(rng.standard_normal((n, k)).astype(np.float32))
        wide = torch.from_numpy(weight.astype(np.float32) * scale[:, None])
        tensors = [torch.from_numpy(x), wide, torch.from_numpy(b)]
        made.append(
            op_case(
                f"{what}: ({m}, {k}) x ({k}, {n})",
                lambda isa, x=x, weight=weight, scale=scale, b=b: linear_int8(
                    x, weight, scale, b, isa=isa, num_threads=options.num_threads
                ),
                lambda tensors=tensors: torch.nn.functional.linear(*tensors),
                num_threads=options.num_threads,
                macs=m * n * k,
            )
        )
    return made


if __name__ == "__main__":
    main("linear_int8 against torch.nn.functional.linear in float32", cases)
