"""log_sum_exp: how fast are the next id and its log-probability found among the logits?"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from op_case import op_case
from timing import Case, main

from tokenfuse_sdk.ops import log_sum_exp


def cases(options: argparse.Namespace) -> list[Case]:
    rng = np.random.default_rng(0)
    made = []
    for m, n in ((1, 128), (1, 32128), (8, 32128)):
        x = rng.standard_normal((m, n)).astype(np.float32)
        tensor = torch.from_numpy(x)

        def run_torch(tensor=tensor) -> torch.Tensor:
            tensor.argmax(dim=1)
            return torch.logsumexp(tensor, dim=1)

        made.append(
            op_case(
                f"({m}, {n})",
                lambda isa, x=x: log_sum_exp(x, isa=isa)[0],
                run_torch,
                num_threads=1,
            )
        )
    return made


if __name__ == "__main__":
    main("log_sum_exp against torch.logsumexp and argmax", cases)
