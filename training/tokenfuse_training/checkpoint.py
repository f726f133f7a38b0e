"""Training checkpoints: written atomically, read without running any code.

Weights, their moving average and the optimiser's moments go into one
safetensors file beside a JSON file with the step; never pickle.
"""

from __future__ import annotations

import json
import os
import pathlib

import torch
from safetensors.torch import load_file, save_file
from torch import nn

__all__ = ["load_checkpoint", "save_checkpoint"]


def save_checkpoint(
    directory: pathlib.Path,
    *,
    step: int,
    modules: dict[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    facts: dict[str, object],
) -> None:
    """Write `directory/state.safetensors`, replacing an older one in one rename.

    Args:
        directory: made if it is not there.
        step: steps done.
        modules: name to module; all their tensors are kept.
        optimizer: Adam-like; `exp_avg`, `exp_avg_sq` and `step` per parameter are kept.
        facts: small JSON facts of the run (seconds spent, seed, recipe name).
    """
    tensors = {
        f"{name}/{key}": value.detach().clone().contiguous()
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            tensors[f"optimizer/{index}/{key}"] = value.detach().clone().contiguous()
    directory.mkdir(parents=True, exist_ok=True)
    temporary = directory / "state.safetensors.tmp"
    metadata = {"facts": json.dumps({"step": step, **facts})}
    save_file(tensors, temporary, metadata=metadata)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(directory / "state.safetensors")


def load_checkpoint(
    directory: pathlib.Path,
    *,
    modules: dict[str, nn.Module],
    optimizer: torch.optim.Optimizer | None,
) -> dict[str, object] | None:
    """Load what `save_checkpoint` wrote into modules and optimiser.

    Returns:
        The facts, with `step`; None where there is no checkpoint.

    Raises:
        RuntimeError: the checkpoint's tensors do not fit the modules.
    """
    from safetensors import safe_open

    path = directory / "state.safetensors"
    if not path.exists():
        return None
    tensors = load_file(path)
    for name, module in modules.items():
        prefix = f"{name}/"
        module.load_state_dict(
            {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
        )
    if optimizer is not None:
        states: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer/"):
                _, index, name = key.split("/")
                states.setdefault(int(index), {})[name] = value
        whole = optimizer.state_dict()
        whole["state"] = states
        optimizer.load_state_dict(whole)
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["facts"])
