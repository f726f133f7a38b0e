"""A loss or a gradient that is not finite ends the run, and the batch is kept to look at."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, NoReturn

from torch import Tensor

from tokenfuse_sdk.errors import NotFiniteError
from tokenfuse_training.config.stage_settings import StageSettings
from tokenfuse_training.data.batch import Batch
from tokenfuse_training.loop.checkpoints import newest_checkpoint

__all__ = ["stop_at"]


def stop_at(
    batch: Batch,
    directory: pathlib.Path,
    *,
    rank: int,
    what: str,
    facts: Mapping[str, Any],
    stage: StageSettings,
    bf16: bool,
) -> NoReturn:
    """Save this rank's batch and raise; the update was not made.

    Args:
        batch: of the step, whole.
        directory: of the run.
        rank: each rank keeps its own part of the step.
        what: is not finite, with its value.
        facts: JSON: step, stage, budget, loss of each term.
        stage: its settings, and
        bf16: whether matrix products were in bfloat16: what may be tried depends on them.

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
        # Where it is not shared, only rank 0 has it so far.
        directory.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, metadata={"facts": json.dumps(told)})
        kept = f"its batch lies in {path}"
    except (OSError, SafetensorError) as error:
        kept = f"its batch could not be kept ({error})"
    last = newest_checkpoint(directory / "checkpoints")
    stays = f"the checkpoint {last.name} stays" if last else "there is no checkpoint yet"
    norm = "smaller max_grad_norm" if stage.max_grad_norm else "max_grad_norm (0 clips nothing)"
    fp32 = "; or run.precision=fp32 in this one" if bf16 else ""
    raise NotFiniteError(
        f"step {facts['step']} of stage {facts['stage']!r}: {what}; {kept}, and {stays}. In a new "
        f"--work, try a lower learning_rate, a longer warmup_steps or a {norm} of that stage{fp32}"
    )
