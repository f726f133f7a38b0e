"""linear: how fast is a dense layer? Packing is part of the op's call, not of the engine's."""

from __future__ import annotations

import argparse

import numpy as np
import torch
from op_case import op_case
from timing import Case, main

from tokenfuse_sdk.ops import linear

# (what, M, N, K): nano and tiny.
SHAPES = [
    ("nano, image MLP", 64, 512, 128),
    ("nano, decoder head", 1, 128, 128),
    ("tiny, image MLP", 196, 768, 192),
    ("tiny, image MLP back", 196, 192, 768),
]


def cases(options: argparse.Namespace) -> list[Case]:
    rng = np.random.default_rng(0)
    made = []
    for what, m, n, k in SHAPES:
        x, w, b = (rng.standard_normal(s).astype(np.float32) for s in ((m, k), (n, k), n))
        tensors = [torch.from_numpy(a) for a in (x, w, b)]
        made.append(
            op_case(
                f"{what}: ({m}, {k}) x ({k}, {n})",
                lambda isa, x=x, w=w, b=b: linear(
                    x, w, b, isa=isa, num_threads=options.num_threads
                ),
                lambda tensors=tensors: torch.nn.functional.linear(*tensors),
                num_threads=options.num_threads,
                macs=m * n * k,
            )
        )
    return made


if __name__ == "__main__":
    main("linear against torch.nn.functional.linear", cases)
