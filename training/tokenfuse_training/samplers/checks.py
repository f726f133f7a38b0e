"""What every sampler checks: the numbers that it is told, and the state that it goes on from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tokenfuse_sdk.errors import NotFiniteError
from tokenfuse_training.errors import CheckpointError

__all__ = ["check_values", "read_count", "read_numbers", "read_state"]


def check_values(what: str, step: int, values: Mapping[int, float], num_tasks: int) -> None:
    """Raise NotFiniteError unless all are finite."""
    for task, value in values.items():
        assert 0 <= task < num_tasks, f"{what} of task {task} of {num_tasks}"
        if not math.isfinite(value):
            raise NotFiniteError(
                f"step {step}: the {what} of task {task} is {value}; no sampler can learn from "
                "it. Stop the run there"
            )


def read_state(state: Mapping[str, Any], *, kind: str, names: tuple[str, ...]) -> None:
    """Raise CheckpointError unless the state is of this kind of sampler, with these fields."""
    found = state.get("kind")
    if found != kind:
        raise CheckpointError(
            f"the checkpoint's sampler is {found!r}, the stage's is {kind!r}; go on with the one "
            "it began with"
        )
    missing = [name for name in names if name not in state]
    if missing:
        raise CheckpointError(
            f"the checkpoint's sampler {kind} has no {', '.join(missing)}; it is damaged"
        )


def read_count(state: Mapping[str, Any], name: str) -> int:
    """An integer of at least 0 of a state."""
    value = state[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise CheckpointError(f"the checkpoint's sampler has {name}={value!r}; it is damaged")
    return value


def read_numbers(state: Mapping[str, Any], name: str, num: int | None = None) -> list[float]:
    """A list of finite numbers of a state, `num` of them where it is given."""
    values = state[name]
    ok = isinstance(values, list) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        for value in values
    )
    if not ok:
        raise CheckpointError(f"the checkpoint's sampler has {name}={values!r}; it is damaged")
    if num is not None and len(values) != num:
        raise CheckpointError(
            f"the checkpoint's sampler has {name} of {len(values)} tasks; the stage has {num}"
        )
    return [float(value) for value in values]
