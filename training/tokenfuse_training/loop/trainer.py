"""The trainer: all stages of a run, on one rank or many, resumable at any step.

What is learned is a function of the seed, the step and the checkpoint alone: a run that is killed
at any moment goes on as if it had not been.
"""

from __future__ import annotations

import contextlib
import json
import math
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from tokenfuse_training.config.stage_settings import StageSettings
from tokenfuse_training.config.train_config import TrainConfig
from tokenfuse_training.data.source import Source
from tokenfuse_training.loop.checkpoints import newest_checkpoint, read_facts
from tokenfuse_training.loop.determinism import same_each_time
from tokenfuse_training.loop.identity import check_identity, run_identity, shared_settings
from tokenfuse_training.loop.log import RunLog
from tokenfuse_training.loop.optimizer import make_optimizer, set_stage
from tokenfuse_training.loop.ranks import Ranks, on_rank_0, same_on_all, sum_over_ranks, uses_bf16
from tokenfuse_training.loop.schedule import budget_at, learning_rate_at
from tokenfuse_training.loop.stage_run import StageRun, check_stages, open_stage
from tokenfuse_training.loop.state import TrainState
from tokenfuse_training.loop.throughput import Meter, StepCost, find_peak
from tokenfuse_training.loop.update import Updater
from tokenfuse_training.loop.whole_state import whole_tensors
from tokenfuse_training.loop.window import Window
from tokenfuse_training.start import Beginning

__all__ = ["Trainer"]

Report = Callable[[Mapping[str, Any]], None]


class Trainer:
    """Trains a config in a folder, from its newest checkpoint where it has one.

    Args:
        config: the run.
        beginning: what it begins with; its model is taken over.
        sources: of every data set that a stage names.
        ranks: this process among those that train together; all have the same config.
        directory: `checkpoints/`, `log.jsonl` and `tensorboard/` go here.

    Raises:
        ConfigError: the folder holds another run (each setting that differs is named), or
            settings of any stage do not fit the model, its tasks or the data.
        CheckpointError: the newest checkpoint is damaged.
    """

    def __init__(
        self,
        config: TrainConfig,
        beginning: Beginning,
        sources: Mapping[str, Source],
        *,
        ranks: Ranks,
        directory: pathlib.Path,
    ) -> None:
        self.config, self.sources, self.ranks = config, sources, ranks
        self.directory, self._beginning = directory, beginning
        check_stages(config, beginning, sources, ranks.world_size)
        used = {task.data for stage in config.stages for task in stage.tasks.values()}
        fingerprints = {name: sources[name].fingerprint for name in sorted(used)}
        self._identity = run_identity(config, beginning, fingerprints)
        same_on_all(json.dumps(self._identity))
        self._bf16 = uses_bf16(config.run, ranks.device)
        shared = shared_settings(config, device=ranks.device.type, bf16=self._bf16)
        for name, value in shared.items():
            same_on_all(value, name)
        with same_each_time(ranks.device):
            self._peak = find_peak(config.run, ranks.device, bf16=self._bf16)
        self._window = Window()
        self._planner_state: Mapping[str, Any] | None = None
        self.step, self.seconds, self._saved_at = 0, 0.0, time.monotonic()
        path = on_rank_0(lambda: newest_checkpoint(self._checkpoints))
        if path is not None:
            self._take_facts(path)
        self.saved_step = self.step  # Of the newest checkpoint; 0 where there is none.
        stage, _ = config.stage_at(self.step)
        self.state = TrainState(beginning, stage, seed=config.seed, ranks=ranks, run=config.run)
        if path is not None:
            self.state.load(path)

    @property
    def _checkpoints(self) -> pathlib.Path:
        return self.directory / "checkpoints"

    def _take_facts(self, path: pathlib.Path) -> None:
        facts = on_rank_0(lambda: read_facts(path))
        check_identity(facts.get("run"), self._identity, str(path))
        self.step, self.seconds = int(facts["step"]), float(facts["seconds"])
        self._planner_state = facts["planner"]
        self._window.load_state_dict(facts["window"])

    @property
    def peak(self) -> str:
        """What the share of peak FLOPs is a share of, for people."""
        return f"{self._peak.tflops:.3g} TFLOP/s per device ({self._peak.source})"

    def averaged_weights(self) -> dict[str, Tensor]:
        """The moving average by the model's names, on the CPU of rank 0; all ranks call it."""
        return whole_tensors(self.state.ema.tensors)

    def run(self, report: Report, max_minutes: float = math.inf) -> bool:
        """Train to the last stage's end or `max_minutes`; true when all is done.

        Args:
            report: gets each line of the log, on rank 0.
            max_minutes: stop behind the step at which this is passed, with a checkpoint.

        Raises:
            NotFiniteError: a loss or gradient is not finite; its batch is kept.
            CheckpointError: a checkpoint or the log cannot be written.
            TooManyBadRecordsError: of the data.
        """
        deadline = time.monotonic() + 60 * max_minutes
        self._saved_at = time.monotonic()
        with contextlib.ExitStack() as stack:
            stack.enter_context(same_each_time(self.ranks.device))
            log = None
            if self.ranks.rank == 0:
                tensorboard = self.config.run.tensorboard
                log = stack.enter_context(
                    RunLog(self.directory, self.step, tensorboard=tensorboard)
                )
            while self.step < self.config.num_steps and self._run_stage(log, report, deadline):
                pass
        return self.step >= self.config.num_steps

    def _enter(self, stage: StageSettings, first_step: int) -> None:
        """Set up what learns; at a stage's first step, also the weights and the optimizer."""
        state = self.state
        frozen = state.objective.freeze(stage.freeze)
        if self.step > first_step:
            return
        # [D] What stands still is what is published, so that the rest learns to go with that.
        state.ema.give(frozen)
        if stage.fresh_optimizer:
            state.optimizer = make_optimizer(state.objective, stage)
        else:
            set_stage(state.optimizer, stage)
        self._planner_state = None

    def _run_stage(self, log: RunLog | None, report: Report, deadline: float) -> bool:
        """To the stage's end: true; or to where the run stops: false."""
        config, ranks = self.config, self.ranks
        stage, first_step = config.stage_at(self.step)
        self._enter(stage, first_step)
        meter = Meter(self._peak, ranks.world_size)
        with open_stage(
            config,
            stage,
            first_step,
            sources=self.sources,
            beginning=self._beginning,
            ranks=ranks,
            planner_state=self._planner_state,
        ) as stage_run:
            cost = StepCost(
                self._beginning.model_config, stage, reads_texts=stage_run.terms.reads_texts
            )
            updater = Updater(
                self.state,
                stage,
                stage_run.terms,
                ranks=ranks,
                bf16=self._bf16,
                directory=self.directory,
            )
            seconds_before, began = self.seconds, time.monotonic()
            for plan, batch in stage_run.feed:
                assert plan.step == self.step
                fusion = self._beginning.model_config.fusion
                budget = budget_at(stage, fusion, seed=config.seed, step=self.step)
                rate = learning_rate_at(stage, self.step - first_step)
                planner = stage_run.planner
                done = updater.update(
                    plan, batch, budget=budget, rate=rate, drops=planner.sampler.needs_drops
                )
                planner.observe(plan.step, done.task_losses, done.drops)
                self.step += 1
                self.seconds = seconds_before + time.monotonic() - began
                task_losses = {f"task_loss/{k}": v for k, v in done.task_losses.items()}
                values = {"loss": done.loss, "grad_norm": done.grad_norm, "budget": budget}
                self._window.add(values | {"learning_rate": rate} | task_losses)
                self._window.count(done.counts, batch.bad + batch.unused)
                meter.add(len(batch.keys), cost.of(batch, budget))
                ends = self.step == first_step + stage.steps
                if ends or self.step % config.run.log_steps == 0:
                    self._write_line(log, report, stage_run, stage, meter)
                if self._save_or_stop(log, stage_run, deadline, ends=ends):
                    return False
        return True

    def _write_line(
        self,
        log: RunLog | None,
        report: Report,
        stage_run: StageRun,
        stage: StageSettings,
        meter: Meter,
    ) -> None:
        line: dict[str, Any] = {"step": self.step, "stage": stage.name}
        line |= self._window.values()
        for fact, values in stage_run.planner.sampler.facts().items():
            for task, value in zip(stage.tasks, values, strict=True):
                if math.isfinite(value):
                    line[f"{fact}/{task}"] = value
        line |= meter.values() | {"seconds": round(self.seconds, 1)}
        if log is not None:
            log.write(line)
            report(line)

    def _save_or_stop(
        self, log: RunLog | None, stage_run: StageRun, deadline: float, *, ends: bool
    ) -> bool:
        """Write a checkpoint where one is due, or the stage `ends`; true where the run ends here.

        Clocks differ: rank 0 decides for all.
        """
        run, now = self.config.run, time.monotonic()
        stop = self.step >= self.config.num_steps or now > deadline
        due = (
            ends
            or now - self._saved_at > 60 * run.checkpoint_minutes
            or (run.checkpoint_steps > 0 and self.step % run.checkpoint_steps == 0)
        )
        asked = [stop, stop or due] if self.ranks.rank == 0 else [False, False]
        stop, save = (sum_over_ranks(torch.tensor(asked, dtype=torch.int64)) > 0).tolist()
        if save:
            if log is not None:
                log.sync()
            facts = {
                "seconds": self.seconds,
                "run": self._identity,
                "planner": stage_run.planner.state_dict(),
                "window": self._window.state_dict(),
            }
            self._planner_state = facts["planner"]
            self.state.save(self._checkpoints, self.step, facts, run.keep_checkpoints)
            self._saved_at, self.saved_step = now, self.step
        return stop
