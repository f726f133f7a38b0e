"""attention_int16: how fast is self-attention beside 8-bit linears?"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from op_case import op_case
from timing import Case, main

from tokenfuse_sdk.ops import attention_int16

# (what, queries, keys, heads, head width)
SHAPES = [
    ("nano, image encoder", 64, 64, 4, 32),
    ("nano, decoder step", 1, 16, 4, 32),
    ("tiny, image encoder", 196, 196, 3, 64),
]


def cases(options: argparse.Namespace) -> list[Case]:
    rng = np.random.default_rng(0)
    made = []
    for what, queries, keys, heads, width in SHAPES:
        shapes = ((queries, heads, width), (keys, heads, width), (keys, heads, width))
        q, k, v = (rng.standard_normal(s).astype(np.float32) for s in shapes)
        parts = [torch.from_numpy(a).transpose(0, 1)[None].contiguous() for a in (q, k, v)]
        made.append(
            op_case(
                f"{what}: {queries} queries, {keys} keys, {heads} heads of {width}",
                lambda isa, q=q, k=k, v=v, c=width**-0.5: attention_int16(
                    q, k, v, scale=c, isa=isa, num_threads=options.num_threads
                ),
                lambda parts=parts: torch.nn.functional.scaled_dot_product_attention(*parts)[
                    0
                ].transpose(0, 1),
                num_threads=options.num_threads,
                macs=2 * queries * keys * heads * width,
            )
        )
    return made


if __name__ == "__main__":
    main("attention_int16 against torch's scaled_dot_product_attention", cases)
