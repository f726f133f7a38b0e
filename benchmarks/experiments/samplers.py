"""The five samplers on five tasks: samples to stratified's last accuracy, and the last accuracy.

    python benchmarks/experiments/samplers.py --machine NAME --work DIR [--minutes M]

Accuracy is the mean over tasks of the share of held-out texts that are told right in full, ten
times over the run. Each point is of the averaged weights then, with no fall of the learning rate.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from run_list import Experiment, Run, Variant, arguments, run_all
from task_accuracy import held_out_stage, task_accuracies

from tokenfuse_training.loop.checkpoints import read_checkpoint
from tokenfuse_training.samplers.sampler import SAMPLERS

__all__ = ["EXPERIMENT", "measure_tasks"]

# 25 pictures a step of the five tasks in turn: about 500 of each.
_HELD_OUT_STEPS = 100
_AVERAGE = "ema/"


def measure_tasks(run: Run) -> dict[str, Any]:
    """Accuracy of each task at every checkpoint, and the shares that the sampler gave."""
    (stage,) = run.config.stages
    asked = held_out_stage(stage, "test", _HELD_OUT_STEPS)
    curve = []
    for path in sorted((run.directory / "checkpoints").glob("step-*.safetensors")):
        tensors, facts = read_checkpoint(path)
        step = int(facts["step"])
        if step % run.config.run.checkpoint_steps:
            # Where the run was stopped once, and went on.
            continue
        weights = {
            name.removeprefix(_AVERAGE): value
            for name, value in tensors.items()
            if name.startswith(_AVERAGE)
        }
        by_task = task_accuracies(run.config, asked, run.beginning, run.sources, weights)
        curve.append(
            {
                "step": step,
                "samples": step * stage.batch_size,
                "accuracy": sum(by_task.values()) / len(by_task),
                "by_task": by_task,
            }
        )
    return {"accuracy": curve[-1]["accuracy"], "curve": curve}


EXPERIMENT = Experiment(
    name="samplers",
    config="samplers.yaml",
    variants=tuple(
        Variant(name=kind, sets=(f"stages.mixture.sampler.kind={kind}",)) for kind in SAMPLERS
    ),
    measure=measure_tasks,
)

if __name__ == "__main__":
    run_all(EXPERIMENT, arguments(__doc__ or "").parse_args())
