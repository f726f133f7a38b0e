"""A loss or a gradient that is not finite ends the run, and the batch is kept to look at."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, NoReturn

from torch import Tensor

from tokenfuse_sdk.errors import NotFiniteError
from tokenfuse_training.data.batch import Batch

__all__ = ["stop_at"]


def stop_at(
    batch: Batch, directory: pathlib.Path, *, rank: int, what: str, facts: Mapping[str, Any]
) -> NoReturn:
    """Save this rank's batch and raise; the update was not made.

    Args:
        batch: of the step, whole.
        directory: of the run.
        rank: each rank keeps its own part of the step.
        what: is not finite, with its value.
        facts: JSON: step, stage, budget, loss of each term.

    Raises:
        NotFiniteError: says where the batch lies and what to try.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    fields = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    tensors = {k: v.cpu().contiguous() for k, v in fields.items() if isinstance(v, Tensor)}
    told = {"terms": batch.terms, "kinds": batch.kinds, "keys": batch.keys, **facts}
    name = f"not-finite-step-{facts['step']:08d}" + (f"-rank-{rank}" if rank else "")
    path = directory / f"{name}.safetensors"
    try:
        save_file(tensors, path, metadata={"facts": json.dumps(told)})
        kept = f"its batch lies in {path}"
    except (OSError, SafetensorError) as error:
        kept = f"its batch could not be kept ({error})"
    raise NotFiniteError(
        f"step {facts['step']} of stage {facts['stage']!r}: {what}; {kept}, and the last "
        "checkpoint stays. In a new --work, try a lower learning_rate, a longer warmup_steps or a "
        "smaller max_grad_norm of that stage; or run.precision=fp32 in this one"
    )
