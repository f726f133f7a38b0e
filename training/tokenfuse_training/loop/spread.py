"""A model over several ranks: DDP, or FSDP2 with weights in shards.

[D] Gradients are sums over ranks, never means: the loss is divided by what all ranks hold
together, so that the split into ranks changes nothing but the order of summation.

FSDP2 shards matrices, layer by layer and the rest with the root. Vectors and scalars (norms,
biases, gates) stay whole on each rank, in float32: a gate has no dimension to shard, and all of
them together are less than 1% of a model. Their gradients travel in one piece at the end of
a step (`clip_gradients`). So a layer's shards can be gathered in bfloat16 with the numbers that
autocast alone gives: it rounds these matrices anyway, and nothing else.

The ranks must use the same parameters in a step. An `Objective` runs the parts that its stage
names, on no pictures or texts too; it never skips a part because a rank's share is empty.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.config.run_settings import RunSettings
from tokenfuse_training.loop.ranks import Ranks, uses_bf16
from tokenfuse_training.model.fusion import FusionIteration
from tokenfuse_training.model.layers import SelfLayer
from tokenfuse_training.model.t5 import DecoderLayer, EncoderLayer

__all__ = ["LAYER_TYPES", "alike", "clip_gradients", "local", "no_sync", "spread"]

# What is compiled, recomputed and sharded as one.
LAYER_TYPES = (SelfLayer, FusionIteration, EncoderLayer, DecoderLayer)


def spread(objective: nn.Module, ranks: Ranks, run: RunSettings) -> nn.Module:
    """The module to call in place of `objective`, on this rank's device.

    One rank: itself. DDP: a wrapper around it. FSDP2: itself, its matrices in shards from here
    on (make the optimizer and the moving average behind this call; `copy.deepcopy` is refused).
    All ranks begin with the weights of rank 0.

    Args:
        objective: whole, nothing of it frozen yet (`requires_grad_` serves behind this call).
        ranks: those who train together.
        run: `strategy` and `precision` are read.

    Raises:
        ConfigError: this PyTorch is too old for FSDP2.
    """
    objective = objective.to(ranks.device)
    assert all(parameter.requires_grad for parameter in objective.parameters())
    if ranks.world_size == 1:
        return objective
    if run.strategy == "fsdp":
        return _shard(objective, ranks, run)
    wrapped = nn.parallel.DistributedDataParallel(
        objective,
        device_ids=None if ranks.device.type == "cpu" else [ranks.device],
        # Which parts a step trains is the stage's choice; what it leaves out gets no gradient,
        # and so no weight decay, as on one rank.
        find_unused_parameters=True,
        gradient_as_bucket_view=True,
    )
    wrapped.register_comm_hook(None, _sum_bucket)
    return wrapped


def _sum_bucket(state, bucket):  # type: ignore[no-untyped-def]
    """A plain sum: DDP's own would divide by the ranks. It refuses annotations that are text."""
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    return work.get_future().then(lambda future: future.value()[0])


def _shard(objective: nn.Module, ranks: Ranks, run: RunSettings) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise ConfigError(
            f"run.strategy='fsdp' with PyTorch {torch.__version__}: it cannot sum gradients over "
            "ranks; install a newer one (2.13 is what is tested), or pass ddp"
        )
    for tensor in objective.state_dict().values():
        dist.broadcast(tensor, src=0)
    mesh = init_device_mesh(ranks.device.type, (ranks.world_size,))
    whole = {parameter for parameter in objective.parameters() if parameter.ndim < 2}
    # Inputs stay as they are: masks hold the lowest float32, which bfloat16 makes infinite.
    layer = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if uses_bf16(run, ranks.device) else None,
        reduce_dtype=torch.float32 if uses_bf16(run, ranks.device) else None,
        cast_forward_inputs=False,
    )
    root = MixedPrecisionPolicy(cast_forward_inputs=False)
    # Inner ones first, as a layer of an iteration is sharded by itself.
    for module in reversed([m for m in objective.modules() if isinstance(m, LAYER_TYPES)]):
        fully_shard(module, mesh=mesh, mp_policy=layer, ignored_params=whole)
    # Left whole behind a forward pass without a backward one, the root would hide its shards.
    fully_shard(
        objective, mesh=mesh, mp_policy=root, ignored_params=whole, reshard_after_forward=True
    )
    for module in objective.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    # FSDP2 notes the types of what is trained at its first forward pass: a part that stands still
    # then would get gradients in bfloat16 ever after. Here all is trained.
    fully_shard.state(objective)._lazy_init()
    return objective


@contextlib.contextmanager
def no_sync(module: nn.Module) -> Iterator[None]:
    """Around all micro-batches of an update but the last: gradients are not summed yet.

    FSDP2 sums in every micro-batch all the same: to keep gradients whole until the last would
    take the memory that it is chosen for.
    """
    if isinstance(module, nn.parallel.DistributedDataParallel):
        with module.no_sync():
            yield
    else:
        yield


def local(tensor: Tensor) -> Tensor:
    """This rank's shard of a parameter, its gradient or its average; shares memory with it."""
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def alike(parameters: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Sharded ones and whole ones apart: a fused optimizer takes no group that mixes them."""
    from torch.distributed.tensor import DTensor

    kept = list(parameters)
    sharded = [p for p in kept if isinstance(p, DTensor)]
    whole = [p for p in kept if not isinstance(p, DTensor)]
    return [group for group in (sharded, whole) if group]


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> float:
    """Complete the sums over ranks, scale all gradients to a norm of `max_norm` at most.

    Call it once per update, behind the last backward pass, on every rank, with all parameters.

    Args:
        parameters: those that are trained; without a gradient they are passed over.
        max_norm: 0 for no limit.

    Returns:
        The norm over all parameters and ranks before clipping; gradients are left as they are
        where it is not finite.
    """
    from torch.distributed.tensor import DTensor

    parameters = list(parameters)
    whole = [p for p in parameters if not isinstance(p, DTensor)]
    if len(whole) < len(parameters):
        _sum_whole(whole)
    sharded = [p.grad for p in parameters if isinstance(p, DTensor) and p.grad is not None]
    shards = [local(gradient) for gradient in sharded]
    rest = [p.grad for p in whole if p.grad is not None]
    squares = _square_sum(shards)
    if sharded:
        squares = squares.to(shards[0].device)
        dist.all_reduce(squares)
    norm = float((squares.cpu() + _square_sum(rest).cpu()).sqrt())
    if max_norm > 0 and max_norm < norm < float("inf"):
        torch._foreach_mul_(shards + rest, max_norm / norm)
    return norm


def _square_sum(tensors: list[Tensor]) -> Tensor:
    """Float64, so that the split into shards does not show."""
    kept = [tensor for tensor in tensors if tensor.numel()]
    if not kept:
        return torch.zeros((), dtype=torch.float64)
    norms = torch.stack(torch._foreach_norm(kept))
    return norms.double().square().sum()


def _sum_whole(parameters: list[nn.Parameter]) -> None:
    """Sum over ranks what FSDP2 does not shard; one that no rank used stays without gradient."""
    if not parameters:
        return
    used = torch.tensor([float(p.grad is not None) for p in parameters])
    pieces = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([piece.flatten() for piece in pieces])
    dist.all_reduce(used)
    dist.all_reduce(flat)
    sums = flat.split([p.numel() for p in parameters])
    for parameter, summed, count in zip(parameters, sums, used.tolist(), strict=True):
        if count:
            parameter.grad = summed.view_as(parameter)
