"""What is asked of a build, checked before anything long begins."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tokenfuse_export.checks import check_model
from tokenfuse_export.choices import MAX_BATCH
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.engine_key import ENGINE_PRECISIONS
from tokenfuse_sdk.errors import ConfigError, PrecisionError
from tokenfuse_sdk.integers import checked_int

__all__ = ["MAX_BATCH", "BuildPlan", "plan_build"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """Checked choices.

    Attributes:
        precision: of the engines.
        graph_precision: of the ONNX graphs that they are built from.
        batches, budgets: ascending.
    """

    precision: str
    graph_precision: str
    batches: tuple[int, ...]
    budgets: tuple[int, ...]


def plan_build(
    config: ModelConfig,
    *,
    precision: str,
    batches: Sequence[int],
    budgets: Sequence[int] | None,
) -> BuildPlan:
    """Check what is asked; arguments and errors as `build_engines`."""
    if precision not in ENGINE_PRECISIONS:
        raise PrecisionError(
            f"precision={precision!r}: choose one of {', '.join(ENGINE_PRECISIONS)}"
        )
    check_model(config)
    checked = tuple(checked_int("batch", batch, 1, MAX_BATCH) for batch in batches)
    wanted = config.fusion.token_budgets if budgets is None else budgets
    kept = tuple(config.fusion.check_budget(budget) for budget in wanted)
    for name, values in (("batch", checked), ("budget", kept)):
        if not values or len(set(values)) != len(values):
            raise ConfigError(f"{name}={list(values)}: need one or more, each once")
    return BuildPlan(
        precision=precision,
        graph_precision=ENGINE_PRECISIONS[precision],
        batches=tuple(sorted(checked)),
        budgets=tuple(sorted(kept)),
    )
