"""What one training step costs: time, by interleaved turns, and memory, in a process of its own.

    python benchmarks/experiments/step_cost.py CONFIG.yaml

prints the memory of a step of that config as JSON. The step is the trainer's own: a batch of the
config's last stage, forward, backward, clipping, AdamW and the moving average.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import torch
from timing import Case, compare

from tokenfuse_training.config.config_file import config_yaml, read_config
from tokenfuse_training.config.train_config import TrainConfig
from tokenfuse_training.loop.ranks import join_ranks, uses_bf16
from tokenfuse_training.loop.stage_run import open_stage
from tokenfuse_training.loop.state import TrainState
from tokenfuse_training.loop.update import Updater
from tokenfuse_training.sources import open_sources
from tokenfuse_training.start import begin

__all__ = ["TrainStep", "step_memory", "step_times"]

_RATE = 1e-4


class TrainStep:
    """A training step on one batch; calling it does the step."""

    def __init__(self, config: TrainConfig) -> None:
        beginning = begin(config)
        stage = config.stages[-1]
        sources = open_sources(
            config,
            [task.data for task in stage.tasks.values()],
            vision=beginning.model_config.vision,
            quiet=True,
        )
        with (
            join_ranks(config.run) as ranks,
            open_stage(
                config,
                stage,
                0,
                sources=sources,
                beginning=beginning,
                ranks=ranks,
                planner_state=None,
            ) as stage_run,
        ):
            self._plan, self._batch = next(stage_run.feed)
            self._budget = beginning.model_config.fusion.num_latents
            self._updater = Updater(
                TrainState(beginning, stage, seed=config.seed, ranks=ranks, run=config.run),
                stage,
                stage_run.terms,
                ranks=ranks,
                bf16=uses_bf16(config.run, ranks.device),
                directory=pathlib.Path(tempfile.gettempdir()),
            )

    def __call__(self) -> float:
        done = self._updater.update(
            self._plan, self._batch, budget=self._budget, rate=_RATE, drops=False
        )
        return done.loss


def step_times(name: str, configs: Mapping[str, TrainConfig], rounds: int) -> dict[str, Any]:
    """Median seconds of a step of each config, in turns; ratios are to the last one."""
    steps = {kind: TrainStep(config) for kind, config in configs.items()}

    def check() -> None:
        for kind, step in steps.items():
            if not step() > 0:
                raise AssertionError(f"{kind}: no loss")

    return compare(Case(name=name, contestants=steps, check=check), rounds)


def step_memory(config: TrainConfig, num_threads: int) -> dict[str, float]:
    """Megabytes of a step, measured in a new process: see `_measure`."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "config.yaml"
        path.write_text(config_yaml(config))
        # So that memory goes back to the system when it is freed, and the peak is the step's.
        kept = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
        done = subprocess.run(
            [sys.executable, __file__, str(path)],
            env={**os.environ, **kept, "OMP_NUM_THREADS": str(num_threads)},
            stdout=subprocess.PIPE,
            check=True,
        )
    return json.loads(done.stdout)


def _status(name: str) -> int:
    """A line of /proc/self/status in bytes."""
    text = pathlib.Path("/proc/self/status").read_text()
    match = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    assert match, name
    return 1024 * int(match[1])


def _measure(path: str) -> dict[str, float]:
    """Memory before a second step (program, weights, moments), and the most during it."""
    step = TrainStep(read_config(path))
    # The first one makes moments and what the libraries keep.
    step()
    before = _status("VmRSS")
    # Linux: the highest resident size starts anew.
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    step()
    most = _status("VmHWM")
    return {"before_mb": before / 1e6, "peak_mb": most / 1e6, "step_mb": (most - before) / 1e6}


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    print(json.dumps(_measure(sys.argv[1])))
