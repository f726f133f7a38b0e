"""Table 4 of the paper on scenes: iterations, latents, resampling and combination.

python benchmarks/experiments/ablations.py --machine NAME --work DIR [--minutes M]
"""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from question_accuracy import measure_questions
from run_list import Experiment, Variant, arguments, run_all

__all__ = ["EXPERIMENT"]

_FUSION = "model.fusion"

EXPERIMENT = Experiment(
    name="ablations",
    config="fusion.yaml",
    variants=(
        # M = 4, N = 16, latent, weighted: one run stands in all four tables.
        Variant(name="default"),
        *(
            Variant(name=f"M = {count}", sets=(f"{_FUSION}.num_iterations={count}",))
            for count in (1, 2, 8)
        ),
        *(
            Variant(
                name=f"N = {count}",
                sets=(f"{_FUSION}.num_latents={count}", f"{_FUSION}.token_budgets=[{count}]"),
            )
            for count in (4, 8, 32, 64)
        ),
        Variant(name="spatial", sets=(f"{_FUSION}.resampler=spatial",)),
        Variant(name="residual", sets=(f"{_FUSION}.combination=residual",)),
        Variant(name="none", sets=(f"{_FUSION}.combination=none",)),
    ),
    measure=measure_questions,
)

if __name__ == "__main__":
    run_all(EXPERIMENT, arguments(__doc__ or "").parse_args())
