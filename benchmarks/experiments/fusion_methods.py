"""Tables 2 and 3 of the paper on scenes: five ways of fusing, and what a training step costs.

python benchmarks/experiments/fusion_methods.py --machine NAME --work DIR [--minutes M]
"""

from __future__ import annotations

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import torch
from question_accuracy import measure_questions
from results import Results
from run_list import Experiment, Variant, arguments, config_of, open_results, run_all
from step_cost import step_memory, step_times

from tokenfuse_sdk.config import FUSION_KINDS
from tokenfuse_training.sources import open_sources
from tokenfuse_training.start import begin

__all__ = ["EXPERIMENT", "measure_costs"]

EXPERIMENT = Experiment(
    name="fusion-methods",
    config="fusion.yaml",
    variants=tuple(
        Variant(name=kind, sets=(f"model.fusion.kind={kind}",)) for kind in FUSION_KINDS
    ),
    measure=measure_questions,
)
# What is timed beside the experiment itself, and how often.
_SCALES = {"experiment": ("fusion.yaml", 21), "small": ("small.yaml", 5)}


def measure_costs(options: argparse.Namespace, results: Results) -> None:
    """Time and memory of a training step of every kind, at both scales; once each."""
    torch.set_num_threads(options.num_threads)
    # The last is the one that all are compared with.
    variants = sorted(EXPERIMENT.variants, key=lambda variant: variant.name == "concat")
    for scale, (file, rounds) in _SCALES.items():
        if scale in results.get("costs"):
            continue
        sets = options.sets if file == EXPERIMENT.config else []
        configs = {
            variant.name: config_of(file, [*sets, *variant.sets], options.work)
            for variant in variants
        }
        # Scenes are drawn here, and not by the first that is measured.
        (drawn, *_) = configs.values()
        open_sources(drawn, ["train"], vision=begin(drawn).model_config.vision, quiet=True)
        memory = {
            kind: step_memory(config, options.num_threads) for kind, config in configs.items()
        }
        times = step_times(scale, configs, min(rounds, options.rounds))
        results.add("costs", scale, {"memory": memory, "times": times})


if __name__ == "__main__":
    parser = arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=21, help="turns of each method, at most")
    parser.add_argument("--costs-only", action="store_true", help="train nothing")
    given = parser.parse_args()
    found = open_results(EXPERIMENT, given) if given.costs_only else run_all(EXPERIMENT, given)
    measure_costs(given, found)
