"""attention: how fast is self-attention over a picture's tokens?"""

from __future__ import annotations

import functools

from attention_cases import attention_cases
from timing import main

from tokenfuse_sdk.ops import attention

if __name__ == "__main__":
    main(
        "attention against torch's scaled_dot_product_attention",
        functools.partial(attention_cases, attention),
    )
