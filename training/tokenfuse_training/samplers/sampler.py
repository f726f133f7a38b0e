"""What a sampler is: shares of the tasks, changed by the losses that it is told.

Shapes: K tasks, in the stage's order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

__all__ = ["SAMPLERS", "Sampler"]

# All that `kind` may be.
SAMPLERS = ("stratified", "proportional", "difficulty", "odm", "learning_progress")


class Sampler(Protocol):
    """Made once per stage by `samplers.make.make_sampler`; draws nothing, so it is deterministic.

    Every task has a part in every step, so every loss is seen in every step, but for tasks whose
    records were all unusable: those are left out of `losses`, and what is known of them stays.
    """

    @property
    def needs_drops(self) -> bool:
        """Whether `observe` reads `drops`, which cost one more forward pass a step."""
        ...

    def shares(self) -> np.ndarray:
        """float64 (K,), positive, sum 1: the tasks' shares of the next step that is planned."""
        ...

    def observe(self, step: int, losses: Mapping[int, float], drops: Mapping[int, float]) -> None:
        """Learn from a step.

        Args:
            step: which, for messages alone: a sampler counts for itself.
            losses: task to mean loss per token, in nats.
            drops: task to loss before the update less loss after it, on the same batch.

        Raises:
            NotFiniteError: NaN or infinity among them.
        """
        ...

    def facts(self) -> dict[str, list[float]]:
        """For the log: `probability` and what else the sampler knows of each task."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All of it, as JSON."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there, to the last bit.

        Raises:
            CheckpointError: of another sampler, of other tasks, or damaged.
        """
        ...
