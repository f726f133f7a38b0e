"""attention_int16: how fast is self-attention beside 8-bit linears?"""

from __future__ import annotations

import functools

from attention_cases import attention_cases
from timing import main

from tokenfuse_sdk.ops import attention_int16

# 196 weights, each off by half a step of 1 / 32767.
TOLERANCE = 3e-3

if __name__ == "__main__":
    main(
        "attention_int16 against torch's scaled_dot_product_attention",
        functools.partial(attention_cases, attention_int16, tolerance=TOLERANCE),
    )
