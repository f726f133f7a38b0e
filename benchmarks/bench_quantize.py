"""quantize: how fast do rows become 8-bit integers? PyTorch's steps are the same ones."""

from __future__ import annotations

import argparse
import functools

import numpy as np
import torch
from timing import Case, main

from tokenfuse_sdk import _native
from tokenfuse_sdk.ops import quantize

# (what, M, K): tiny and small.
SHAPES = [("tiny, image rows", 196, 192), ("tiny, image MLP", 196, 768), ("small", 196, 1536)]


def cases(options: argparse.Namespace) -> list[Case]:
    rng = np.random.default_rng(0)
    torch.set_num_threads(options.num_threads)
    made = []
    for what, m, k in SHAPES:
        x = rng.standard_normal((m, k)).astype(np.float32)
        tensor = torch.from_numpy(x)

        def run_torch(tensor=tensor) -> torch.Tensor:
            with torch.inference_mode():
                scale = tensor.abs().amax(dim=1, keepdim=True) / 127
                return (tensor / scale).round().to(torch.int8)

        def check(x=x, run_torch=run_torch) -> None:
            for isa in _native.available_isas():
                # Division and multiplication round ties apart.
                step = np.abs(quantize(x, isa=isa)[0].astype(int) - run_torch().numpy().astype(int))
                assert step.max() <= 1 and step.mean() < 1e-3

        contestants = {
            f"tokenfuse {isa}": functools.partial(quantize, x, isa=isa)
            for isa in reversed(_native.available_isas())
        }
        made.append(
            Case(
                name=f"{what}: ({m}, {k})",
                contestants=contestants | {"torch": run_torch},
                check=check,
            )
        )
    return made


if __name__ == "__main__":
    main("quantize against PyTorch eager", cases)
