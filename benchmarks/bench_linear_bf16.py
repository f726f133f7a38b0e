"""linear_bf16: how fast is a dense layer with weights in bfloat16? Packing is part of the op's
call, not of the engine's, and at few rows it is most of it; PyTorch multiplies the same in
float32."""

from __future__ import annotations

import argparse

import numpy as np
import torch
from op_case import op_case
from timing import Case, main

from tokenfuse_sdk.ops import linear_bf16

# (what, M, N, K): tiny and small.
SHAPES = [
    ("tiny, decoder MLP", 1, 768, 192),
    ("tiny, text MLP", 16, 768, 192),
    ("tiny, fusion MLP", 32, 768, 192),
    ("tiny, image MLP", 196, 768, 192),
    ("tiny, image MLP back", 196, 192, 768),
    ("small, image MLP", 196, 1536, 384),
]


def cases(options: argparse.Namespace) -> list[Case]:
    rng = np.random.default_rng(0)
    made = []
    for what, m, n, k in SHAPES:
        # Values that bfloat16 holds, so that every variant multiplies the same.
        tensors = [
            torch.from_numpy(rng.standard_normal(s).astype(np.float32)).bfloat16().float()
            for s in ((m, k), (n, k), (n,))
        ]
        x, w, b = (tensor.numpy() for tensor in tensors)
        made.append(
            op_case(
                f"{what}: ({m}, {k}) x ({k}, {n})",
                lambda isa, x=x, w=w, b=b: linear_bf16(
                    x, w, b, isa=isa, num_threads=options.num_threads
                ),
                lambda tensors=tensors: torch.nn.functional.linear(*tensors),
                num_threads=options.num_threads,
                macs=m * n * k,
            )
        )
    return made


if __name__ == "__main__":
    main("linear_bf16 against torch.nn.functional.linear in float32", cases)
