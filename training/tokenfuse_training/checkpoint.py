"""Training checkpoints: written atomically, read without running any code.

Weights, their moving average and the optimiser's moments go into one
safetensors file, the step and the facts of the run into its metadata; never pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tokenfuse_sdk.errors import ConfigError

__all__ = [
    "load_checkpoint",
    "load_weights",
    "read_facts",
    "save_checkpoint",
    "state_path",
    "weights_digest",
]


def state_path(directory: pathlib.Path) -> pathlib.Path:
    """The checkpoint of a run's folder, whether it is there or not."""
    return directory / "state.safetensors"


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """16 hex digits of names, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Copy weights into a module.

    Raises:
        ConfigError: they are not those of the module; `source` says where they are from.
    """
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise ConfigError(
            f"{source} holds weights of another model; use those of the same config. {error}"
        ) from error


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
        facts: JSON facts of the run (seconds spent, what it is a run of).
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
    path = state_path(directory)
    temporary = path.with_name(path.name + ".tmp")
    metadata = {"facts": json.dumps({"step": step, **facts})}
    save_file(tensors, temporary, metadata=metadata)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def read_facts(directory: pathlib.Path) -> dict[str, object] | None:
    """The facts of `save_checkpoint`, with `step`; None where there is no checkpoint."""
    path = state_path(directory)
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        return json.loads((file.metadata() or {}).get("facts", "{}"))


def load_checkpoint(
    directory: pathlib.Path,
    *,
    modules: dict[str, nn.Module],
    optimizer: torch.optim.Optimizer | None,
) -> None:
    """Load what `save_checkpoint` wrote into modules and optimiser.

    Raises:
        ConfigError: the checkpoint's tensors do not fit the modules.
    """
    path = state_path(directory)
    tensors = load_file(path)
    for name, module in modules.items():
        prefix = f"{name}/"
        weights = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
        load_weights(module, weights, f"{path}, {name},")
    if optimizer is not None:
        states: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer/"):
                _, index, name = key.split("/")
                states.setdefault(int(index), {})[name] = value
        whole = optimizer.state_dict()
        whole["state"] = states
        optimizer.load_state_dict(whole)
