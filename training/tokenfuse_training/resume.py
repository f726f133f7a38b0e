"""Whether a checkpoint belongs to the run that is asked for.

To go on with another recipe, other scenes or other first weights would give a
model that no command makes again, so it is refused.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping

from torch import Tensor

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.checkpoint import read_facts, state_path, weights_digest
from tokenfuse_training.data.store import StoreSpec
from tokenfuse_training.recipes.recipe import Recipe

__all__ = ["facts_to_resume", "run_identity"]


def run_identity(
    recipe: Recipe,
    spec: StoreSpec,
    *,
    start_weights: Mapping[str, Tensor] | None = None,
    start_stage: str = "",
) -> dict[str, object]:
    """All that decides what a run learns, up to rounding, as JSON; a checkpoint keeps it.

    Args:
        recipe: as it is run, its steps scaled.
        spec: of the scenes to learn from.
        start_weights: None where the run begins with random ones.
        start_stage: the stage to begin with otherwise.
    """
    started = start_weights is not None
    return {
        "num_steps": recipe.num_steps,
        **json.loads(json.dumps(dataclasses.asdict(recipe))),
        "scenes": spec.key,
        "start_weights": weights_digest(start_weights) if started else None,
        "first_step": recipe.first_step_of(start_stage) if started else 0,
    }


def facts_to_resume(
    directory: pathlib.Path, asked: Mapping[str, object]
) -> dict[str, object] | None:
    """The facts of the checkpoint in `directory`; None where there is none.

    Args:
        directory: of the run.
        asked: the `run_identity` of the run to go on with.

    Raises:
        ConfigError: it is the checkpoint of another run.
    """
    facts = read_facts(directory)
    if facts is None:
        return None
    path = state_path(directory)
    way_out = (
        f"give the options of that run (--start-from too), or another --work, or delete {path} "
        "to begin anew"
    )
    stored = facts.get("run")
    if not isinstance(stored, dict):
        raise ConfigError(f"{path} does not say which run it belongs to; {way_out}")
    names = [*asked, *(name for name in stored if name not in asked)]
    differ = [name for name in names if asked.get(name) != stored.get(name)]
    if differ:
        said = ", ".join(_said(name, asked.get(name), stored.get(name)) for name in differ)
        raise ConfigError(
            f"{path} holds step {facts['step']} of another run, which differs in {said}; {way_out}"
        )
    return facts


def _said(name: str, asked: object, stored: object) -> str:
    if isinstance(asked, dict | list) or isinstance(stored, dict | list):
        return name
    return f"{name} ({stored} there, {asked} asked for)"
