"""linear_bf16: how fast is a dense layer with weights in bfloat16? Packing is part of the op's
call, not of the engine's, and at few rows it is most of it; PyTorch multiplies the same in
float32."""

from __future__ import annotations

from dense_cases import dense_cases
from timing import main

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


if __name__ == "__main__":
    main(
        "linear_bf16 against torch.nn.functional.linear in float32",
        lambda options: dense_cases(
            linear_bf16, SHAPES, lambda tensor: tensor.bfloat16().float(), options
        ),
    )
