"""merge_attention: what does the fused, folded merging save over projecting every token?

PyTorch does what the method's equation says: project the tokens to keys and values, attend,
project the result. Ours merges the tokens themselves and applies one folded matrix.
"""

from __future__ import annotations

import argparse

import torch
from merge_folded import folded
from op_case import op_case
from timing import Case, main

from tokenfuse_sdk.ops import linear, merge_attention
from tokenfuse_training.model.layers import CrossAttention

# (what, latents, tokens, heads, width)
SHAPES = [
    ("nano", 16, 64, 4, 128),
    ("nano, N = 4", 4, 64, 4, 128),
    ("tiny", 32, 196, 3, 192),
    ("small", 32, 196, 6, 384),
]


def cases(options: argparse.Namespace) -> list[Case]:
    torch.manual_seed(0)
    made = []
    for what, num_latents, num_tokens, heads, width in SHAPES:
        phi = CrossAttention(width, heads)
        latents, tokens = torch.randn(num_latents, width), torch.randn(num_tokens, width)
        queries, matrix, bias = folded(phi, latents)
        x = tokens.numpy()

        def ours(isa, x=x, queries=queries, matrix=matrix, bias=bias, n=num_latents):
            merged, _, _ = merge_attention(queries, x, isa=isa)
            return linear(merged.reshape(n, -1), matrix, bias, isa=isa)

        made.append(
            op_case(
                f"{what}: {num_latents} latents, {num_tokens} tokens, {heads} heads of "
                f"{width // heads}",
                ours,
                lambda phi=phi, latents=latents, tokens=tokens: phi(latents[None], tokens[None])[
                    0
                ].detach(),
                num_threads=1,
                macs=2 * num_latents * heads * num_tokens * width
                + num_latents * heads * width * width,
            )
        )
    return made


if __name__ == "__main__":
    main("folded merge_attention against projecting every token in PyTorch", cases)
