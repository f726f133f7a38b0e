"""conv2d: how fast are the stem and the patches?"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from op_case import op_case
from timing import Case, main

from tokenfuse_sdk.ops import conv2d

# (what, side, channels in, channels out, kernel, stride, padding)
SHAPES = [
    ("nano, first of the stem", 64, 3, 32, 3, 2, 1),
    ("nano, second of the stem", 32, 32, 64, 3, 2, 1),
    ("tiny, patches", 224, 3, 192, 16, 16, 0),
]


def cases(options: argparse.Namespace) -> list[Case]:
    rng = np.random.default_rng(0)
    made = []
    for what, side, channels, outputs, kernel, stride, padding in SHAPES:
        x = rng.standard_normal((side, side, channels)).astype(np.float32)
        w = rng.standard_normal((outputs, channels, kernel, kernel)).astype(np.float32)
        tx, tw = torch.from_numpy(x).permute(2, 0, 1)[None], torch.from_numpy(w)
        out = (side + 2 * padding - kernel) // stride + 1
        made.append(
            op_case(
                what,
                lambda isa, x=x, w=w, s=stride, p=padding: conv2d(
                    x, w, stride=s, padding=p, isa=isa, num_threads=options.num_threads
                ),
                lambda tx=tx, tw=tw, s=stride, p=padding: torch.nn.functional.conv2d(
                    tx, tw, stride=s, padding=p
                )[0].permute(1, 2, 0),
                num_threads=options.num_threads,
                macs=out * out * outputs * channels * kernel**2,
            )
        )
    return made


if __name__ == "__main__":
    main("conv2d against torch.nn.functional.conv2d", cases)
