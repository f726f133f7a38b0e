"""gated_add: how fast is the combination of eq. 3 and 4?"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from op_case import op_case
from timing import Case, main

from tokenfuse_sdk.ops import gated_add


def cases(options: argparse.Namespace) -> list[Case]:
    rng = np.random.default_rng(0)
    made = []
    for n in (16 * 128, 64 * 768):
        x, z = (rng.standard_normal(n).astype(np.float32) for _ in range(2))
        tx, tz = torch.from_numpy(x), torch.from_numpy(z)
        made.append(
            op_case(
                f"{n} numbers",
                lambda isa, x=x, z=z: gated_add(0.75, x, 1.25, z, isa=isa),
                lambda tx=tx, tz=tz: 0.75 * tx + 1.25 * tz,
                num_threads=1,
            )
        )
    return made


if __name__ == "__main__":
    main("gated_add against PyTorch's arithmetic", cases)
