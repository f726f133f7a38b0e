"""Whole tensors by name, from any number of ranks and onto any number of ranks.

A checkpoint holds a run as one rank would have it. Sharded tensors are gathered on rank 0 one
by one, and rank 0 gives every rank its part again, so that only rank 0 reads and writes files.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tokenfuse_training.errors import CheckpointError

__all__ = ["fill_optimizer", "fill_tensors", "optimizer_tensors", "whole_tensors"]


@torch.no_grad()
def whole_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU of rank 0; elsewhere empty. Every rank calls it with the same names."""
    from torch.distributed.tensor import DTensor

    keep = not dist.is_initialized() or dist.get_rank() == 0
    whole: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach()
        if isinstance(tensor, DTensor):
            tensor = tensor.full_tensor()
        if keep:
            whole[name] = tensor.to("cpu", copy=True).contiguous()
    return whole


@torch.no_grad()
def fill_tensors(tensors: Mapping[str, Tensor], whole: Mapping[str, Tensor], source: str) -> None:
    """Copy whole tensors into those of all ranks, in place.

    Args:
        tensors: to be written, sharded or not; every rank gives the same names.
        whole: read on rank 0 alone; others may pass an empty mapping.
        source: for messages.

    Raises:
        CheckpointError: names, shapes or dtypes differ; on every rank, and nothing is changed.
    """
    _check(tensors, whole, source)
    for name, tensor in tensors.items():
        _fill(tensor, whole.get(name))


def _check(tensors: Mapping[str, Tensor], whole: Mapping[str, Tensor], source: str) -> None:
    def differ() -> str:
        missing = sorted(tensors.keys() - whole.keys())
        unknown = sorted(whole.keys() - tensors.keys())
        if missing or unknown:
            return f"missing: {missing[:5]}, unknown: {unknown[:5]}"
        for name, tensor in tensors.items():
            given = whole[name]
            if given.shape != tensor.shape or given.dtype != tensor.dtype:
                return (
                    f"{name} is {given.dtype} {tuple(given.shape)} there, "
                    f"{tensor.dtype} {tuple(tensor.shape)} here"
                )
        return ""

    said: list[str] = [""]
    if not dist.is_initialized() or dist.get_rank() == 0:
        said = [differ()]
    if dist.is_initialized():
        dist.broadcast_object_list(said, src=0)
    if said[0]:
        raise CheckpointError(
            f"{source} holds tensors of another model ({said[0]}); use a checkpoint of the same "
            "config, or another work folder"
        )


def _fill(tensor: Tensor, whole: Tensor | None) -> None:
    """Copy rank 0's `whole` into a tensor of all ranks."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if isinstance(tensor, DTensor):
        on = tensor.to_local().device
        given = torch.empty(tensor.shape, dtype=tensor.dtype, device=on)
        if whole is not None:
            given.copy_(whole)
        parts = distribute_tensor(given, tensor.device_mesh, tensor.placements)
        tensor.to_local().copy_(parts.to_local())
        return
    if whole is not None:
        tensor.copy_(whole)
    if dist.is_initialized():
        dist.broadcast(tensor, src=0)


def optimizer_tensors(
    named: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """The optimizer's state as `<parameter>/<entry>` (`exp_avg`, `exp_avg_sq`, `step`).

    Parameters that had no gradient yet have none. Give it to `whole_tensors`.
    """
    return {
        f"{name}/{entry}": value
        for name, parameter in named.items()
        for entry, value in sorted(optimizer.state.get(parameter, {}).items())
        if isinstance(value, Tensor)
    }


def fill_optimizer(
    named: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    whole: Mapping[str, Tensor],
    source: str,
) -> None:
    """Give the optimizer of all ranks the state that `optimizer_tensors` told of.

    Args:
        named: the optimizer's parameters; every rank gives the same names.
        optimizer: Adam-like, fresh; what it holds is replaced.
        whole: read on rank 0 alone.
        source: for messages.

    Raises:
        CheckpointError: it is not the state of these parameters; on every rank.
    """
    names: list[list[str]] = [sorted(whole)]
    if dist.is_initialized():
        dist.broadcast_object_list(names, src=0)
    optimizer.state.clear()
    tensors: dict[str, Tensor] = {}
    for key in names[0]:
        name, _, entry = key.rpartition("/")
        if name not in named:
            raise CheckpointError(
                f"{source} holds optimizer state of {name!r}, which this model does not have; "
                "use a checkpoint of the same config, or another work folder"
            )
        parameter = named[name]
        # AdamW counts steps in a float32 on the CPU, or on the device where it is fused.
        fused = any(group.get("fused") for group in optimizer.param_groups)
        scalar = torch.zeros((), device=parameter.device if fused else "cpu")
        value = scalar if entry == "step" else torch.zeros_like(parameter)
        optimizer.state[parameter][entry] = tensors[key] = value.detach()
    fill_tensors(tensors, whole, source)
