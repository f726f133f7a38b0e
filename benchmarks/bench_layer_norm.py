"""layer_norm: how fast is a normalisation of rows?"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from op_case import op_case
from timing import Case, main

from tokenfuse_sdk.ops import layer_norm


def cases(options: argparse.Namespace) -> list[Case]:
    rng = np.random.default_rng(0)
    made = []
    for m, n in ((64, 128), (196, 192), (196, 768)):
        x, w, b = (rng.standard_normal(s).astype(np.float32) for s in ((m, n), n, n))
        tx, tw, tb = (torch.from_numpy(a) for a in (x, w, b))
        made.append(
            op_case(
                f"({m}, {n})",
                lambda isa, x=x, w=w, b=b: layer_norm(x, w, b, isa=isa),
                lambda tx=tx, tw=tw, tb=tb, n=n: torch.nn.functional.layer_norm(
                    tx, (n,), tw, tb, 1e-6
                ),
                num_threads=1,
            )
        )
    return made


if __name__ == "__main__":
    main("layer_norm against torch.nn.functional.layer_norm", cases)
