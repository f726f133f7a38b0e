"""The five ways of fusing, trained three times as long: does the order of fusion_methods.py hold?

python benchmarks/experiments/longer_training.py --machine NAME --work DIR [--minutes M]
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import fusion_methods
from run_list import Variant, arguments, run_all

__all__ = ["EXPERIMENT"]

EXPERIMENT = dataclasses.replace(
    fusion_methods.EXPERIMENT,
    name="longer-training",
    variants=tuple(
        Variant(name=variant.name, sets=("stages.answer.steps=3000", *variant.sets))
        for variant in fusion_methods.EXPERIMENT.variants
    ),
)

if __name__ == "__main__":
    run_all(EXPERIMENT, arguments(__doc__ or "").parse_args())
