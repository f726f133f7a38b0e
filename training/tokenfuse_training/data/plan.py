"""How many samples of each task a step takes, fixed some steps ahead.

A sampler learns from the losses of a step, and workers prepare steps that have not been trained
yet. So that neither waits for the other, and a run does not depend on how fast it reads, the
plan of step s is made after step s - ahead, whatever has been read by then.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.errors import CheckpointError
from tokenfuse_training.samplers.share_out import share_out

if TYPE_CHECKING:
    from tokenfuse_training.samplers.sampler import Sampler

__all__ = ["Planner", "StepPlan", "check_batch_size"]


def check_batch_size(stage: str, batch_size: int, num_tasks: int) -> None:
    """Raise ConfigError where a step of `stage` has fewer pictures than tasks."""
    if batch_size < num_tasks:
        raise ConfigError(
            f"stages.{stage}.batch_size={batch_size} is less than the {num_tasks} tasks of the "
            "stage, each of which has a picture in every step; raise it"
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """A step's samples.

    Args:
        step: of the whole run, from 0.
        counts: pictures of each task, over all ranks.
        first: position of each task's first sample in this stage; the others follow it.
    """

    step: int
    counts: tuple[int, ...]
    first: tuple[int, ...]


class Planner:
    """Plans of a stage's steps, in order; the same on every rank.

    Args:
        tasks: names, in the stage's order.
        sampler: gives the shares.
        batch_size: pictures of a step, over all ranks; at least one a task (`check_batch_size`).
        ahead: so many plans are fixed before the losses of the first of them are known.
        first_step: of the stage.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        sampler: Sampler,
        batch_size: int,
        ahead: int,
        first_step: int = 0,
    ) -> None:
        self.tasks = tuple(tasks)
        self.sampler = sampler
        self.batch_size = batch_size
        self.ahead = ahead
        self.first_step = first_step
        self._next_step = first_step
        self._next_first = (0,) * len(self.tasks)
        # Plans whose step has not been observed; the feed has taken the first `_taken` of them.
        self._open: collections.deque[StepPlan] = collections.deque()
        self._taken = 0
        for _ in range(ahead):
            self._append()

    def next_plan(self) -> StepPlan | None:
        """The next plan that was not taken yet; None where a step must be observed first."""
        if self._taken == len(self._open):
            return None
        self._taken += 1
        return self._open[self._taken - 1]

    def observe(self, step: int, losses: Mapping[str, float], drops: Mapping[str, float]) -> None:
        """Tell the losses of a step, once it is trained, and plan another one.

        Args:
            step: the oldest that was taken and not observed.
            losses: mean loss of each task over all ranks; tasks without a usable record are
                left out.
            drops: how much each loss fell by the update, for samplers that need it; else empty.
        """
        assert self._taken and self._open[0].step == step, f"step {step} is not the next to observe"
        self.sampler.observe(step, self._by_index(losses), self._by_index(drops))
        self._open.popleft()
        self._taken -= 1
        self._append()

    def state_dict(self) -> dict[str, Any]:
        """All that the plans from the next step on depend on, as JSON."""
        return {
            "tasks": list(self.tasks),
            "open": [[plan.step, list(plan.counts), list(plan.first)] for plan in self._open],
            "sampler": self.sampler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`; what was taken and not observed is given again.

        Raises:
            CheckpointError: a state of other tasks, or of another `ahead` or batch size.
        """
        plans = [
            StepPlan(step=step, counts=tuple(counts), first=tuple(first))
            for step, counts, first in state["open"]
        ]
        fits = len(plans) == self.ahead and all(
            sum(plan.counts) == self.batch_size for plan in plans
        )
        if tuple(state["tasks"]) != self.tasks or not fits:
            sizes = ", ".join(map(str, sorted({sum(plan.counts) for plan in plans})))
            raise CheckpointError(
                f"the checkpoint holds {len(plans)} plans of {sizes} pictures for the tasks "
                f"{', '.join(state['tasks'])}; the stage has {self.ahead} of {self.batch_size} "
                f"for {', '.join(self.tasks)}"
            )
        self.sampler.load_state_dict(state["sampler"])
        self._open = collections.deque(plans)
        self._taken = 0
        self._next_step = plans[-1].step + 1
        self._next_first = _behind(plans[-1])

    def _append(self) -> None:
        counts = tuple(share_out(self.sampler.shares(), self.batch_size))
        plan = StepPlan(step=self._next_step, counts=counts, first=self._next_first)
        self._open.append(plan)
        self._next_step += 1
        self._next_first = _behind(plan)

    def _by_index(self, values: Mapping[str, float]) -> dict[int, float]:
        return {self.tasks.index(name): value for name, value in values.items()}


def _behind(plan: StepPlan) -> tuple[int, ...]:
    """The positions behind those of a plan."""
    return tuple(a + b for a, b in zip(plan.first, plan.counts, strict=True))
