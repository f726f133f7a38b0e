"""The processes that train together: who this one is, and what they tell each other.

`torchrun` starts them and says by environment variables which is which. CPU tensors travel by
gloo and GPU tensors by NCCL, so that a flag or a line of text never waits for a GPU. With one
process there is no group, and everything here gives back what it got.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from tokenfuse_sdk.errors import ConfigError, DeviceError, TokenfuseError
from tokenfuse_training.config.run_settings import RunSettings
from tokenfuse_training.loop.fresh_store import fresh_store

__all__ = [
    "Ranks",
    "join_ranks",
    "on_rank_0",
    "same_on_all",
    "sum_over_ranks",
    "uses_bf16",
]

T = TypeVar("T")

# A longer text is told by its digest.
_SHORT = 32
# Others wait for rank 0 while it writes a checkpoint or draws data for the first time.
_PATIENCE = datetime.timedelta(minutes=30)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """This process among those that train together.

    Args:
        rank: from 0; rank 0 writes checkpoints, log and progress.
        world_size: how many there are.
        local_rank: the number on this machine.
        device: what this one computes on.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))


def _number(environment: Mapping[str, str], name: str, default: int | None) -> int:
    text = environment.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal():
        raise ConfigError(
            f"WORLD_SIZE is set, so that {name} must be a number of at least 0, got {text!r}; "
            "start several ranks with torchrun, which sets both, or unset WORLD_SIZE for one"
        )
    return int(text)


def _device(name: str, local_rank: int, world_size: int) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"run.device={name!r}: need auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise DeviceError(
                f"run.device={name!r}: PyTorch sees no GPU here; pass cpu or auto, or install a "
                "PyTorch that is built for CUDA"
            )
        if world_size > 1:
            if device.index is not None:
                raise ConfigError(
                    f"run.device={name!r} with {world_size} ranks: each rank takes the GPU of "
                    "its number on the machine; pass cuda, and choose GPUs by "
                    "CUDA_VISIBLE_DEVICES"
                )
            device = torch.device("cuda", local_rank)
        elif device.index is None:
            device = torch.device("cuda", 0)
        if device.index is not None and device.index >= count:
            raise DeviceError(
                f"rank {local_rank} of this machine wants {device}, but PyTorch sees {count} "
                f"GPUs; pass --nproc-per-node={count} or less to torchrun, or device=cpu"
            )
    elif device.type != "cpu" and world_size > 1:
        raise ConfigError(
            f"run.device={name!r} with {world_size} ranks: several ranks train on cpu or cuda"
        )
    return device


@contextlib.contextmanager
def join_ranks(run: RunSettings, environment: Mapping[str, str] | None = None) -> Iterator[Ranks]:
    """Join the processes that torchrun started; leave them on the way out.

    Args:
        run: `device` is read; with several ranks each takes the GPU of its local rank.
        environment: RANK, WORLD_SIZE and LOCAL_RANK as torchrun sets them; None for that of
            this process. Without WORLD_SIZE, or with 1, there is one rank and no group.

    Raises:
        ConfigError: the variables or the device do not fit together.
        DeviceError: there is no such GPU.
    """
    environment = os.environ if environment is None else environment
    world_size = _number(environment, "WORLD_SIZE", 1)
    if world_size <= 1:
        device = _device(run.device, 0, 1)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        yield Ranks(device=device)
        return
    rank = _number(environment, "RANK", None)
    local_rank = _number(environment, "LOCAL_RANK", None)
    device = _device(run.device, local_rank, world_size)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store, _, _ = next(dist.rendezvous("env://", rank, world_size, timeout=_PATIENCE))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        store=fresh_store(store, rank, world_size, _PATIENCE.total_seconds()),
        rank=rank,
        world_size=world_size,
        timeout=_PATIENCE,
    )
    try:
        yield Ranks(rank=rank, world_size=world_size, local_rank=local_rank, device=device)
    except BaseException:
        # NCCL may wait here for ranks that wait for this one. The end of the process ends it all,
        # and lets torchrun know.
        if device.type == "cpu":
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def uses_bf16(run: RunSettings, device: torch.device) -> bool:
    """Whether matrix products are in bfloat16: `auto` is on a GPU alone."""
    return run.precision == "bf16" or (run.precision == "auto" and device.type == "cuda")


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum over all ranks, as a new tensor; every rank calls it with the same shape."""
    total = tensor.detach().clone()
    if dist.is_initialized():
        dist.all_reduce(total)
    return total


def same_on_all(text: str, what: str = "config") -> None:
    """Make sure that all ranks have the same text.

    Raises:
        ConfigError: on every rank, naming those that differ from rank 0.
    """
    if not dist.is_initialized():
        return
    told: list[Any] = [None] * dist.get_world_size()
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    dist.all_gather_object(told, text if len(text) <= _SHORT else digest)
    others = [rank for rank, said in enumerate(told) if said != told[0]]
    if others:
        raise ConfigError(
            f"the {what} of rank {', '.join(map(str, others))} is another than that of rank 0 "
            f"({told[others[0]]} and {told[0]}); start all ranks with the same files and "
            "the same options"
        )


def on_rank_0(work: Callable[[], T]) -> T:
    """Do `work` on rank 0 alone, while the others wait; all get its result, or its error.

    The result should be small: it is sent to every rank.
    """
    if not dist.is_initialized():
        return work()
    if dist.get_rank() == 0:
        try:
            result = work()
        except Exception as error:
            dist.broadcast_object_list([(*_as_sent(error), None)], src=0)
            raise
        dist.broadcast_object_list([(None, (), result)], src=0)
        return result
    said: list[Any] = [None]
    dist.broadcast_object_list(said, src=0)
    kind, arguments, result = said[0]
    if kind is not None:
        raise kind(*arguments)
    return result


def _as_sent(error: Exception) -> tuple[type[Exception], tuple[Any, ...]]:
    """The type and arguments by which others raise it; our own types and the system's stay."""
    if isinstance(error, TokenfuseError):
        return type(error), (str(error),)
    if isinstance(error, OSError) and error.errno is not None:
        # Of these, Python makes the type that fits the number.
        return OSError, (error.errno, error.strerror, error.filename)
    return (OSError if isinstance(error, OSError) else RuntimeError), (str(error),)
