"""linear: how fast is a dense layer? Packing is part of the op's call, not of the engine's."""

from __future__ import annotations

from dense_cases import dense_cases
from timing import main

from tokenfuse_sdk.ops import linear

# (what, M, N, K): nano and tiny.
SHAPES = [
    ("nano, image MLP", 64, 512, 128),
    ("nano, decoder head", 1, 128, 128),
    ("tiny, image MLP", 196, 768, 192),
    ("tiny, image MLP back", 196, 192, 768),
]


if __name__ == "__main__":
    main(
        "linear against torch.nn.functional.linear",
        lambda options: dense_cases(linear, SHAPES, lambda tensor: tensor, options),
    )
