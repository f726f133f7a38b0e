"""rms_norm: how fast is T5's normalisation of rows?"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from op_case import op_case
from timing import Case, main

from tokenfuse_sdk.ops import rms_norm


def cases(options: argparse.Namespace) -> list[Case]:
    rng = np.random.default_rng(0)
    made = []
    for m, n in ((1, 128), (12, 128), (12, 768)):
        x, w = (rng.standard_normal(s).astype(np.float32) for s in ((m, n), n))
        tx, tw = torch.from_numpy(x), torch.from_numpy(w)
        made.append(
            op_case(
                f"({m}, {n})",
                lambda isa, x=x, w=w: rms_norm(x, w, isa=isa),
                lambda tx=tx, tw=tw, n=n: torch.nn.functional.rms_norm(tx, (n,), tw, 1e-6),
                num_threads=1,
            )
        )
    return made


if __name__ == "__main__":
    main("rms_norm against torch.nn.functional.rms_norm", cases)
