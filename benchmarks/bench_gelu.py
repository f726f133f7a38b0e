"""gelu: how fast is the activation alone? In the engine it is part of `linear`."""

from __future__ import annotations

import argparse

import numpy as np
import torch
from op_case import op_case
from timing import Case, main

from tokenfuse_sdk.ops import gelu


def cases(options: argparse.Namespace) -> list[Case]:
    rng = np.random.default_rng(0)
    made = []
    for approximate in ("none", "tanh"):
        for m, n in ((64, 512), (196, 768)):
            x = rng.standard_normal((m, n)).astype(np.float32)
            tx = torch.from_numpy(x)
            made.append(
                op_case(
                    f"({m}, {n}), approximate={approximate}",
                    lambda isa, x=x, a=approximate: gelu(x, approximate=a, isa=isa),
                    lambda tx=tx, a=approximate: torch.nn.functional.gelu(tx, approximate=a),
                    num_threads=1,
                )
            )
    return made


if __name__ == "__main__":
    main("gelu against torch.nn.functional.gelu", cases)
