"""A small training loop in place of the Trainer: float64, every term of the loss in plain sight."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tokenfuse_sdk.sizes import named_config
from tokenfuse_training.config.run_settings import RunSettings
from tokenfuse_training.loop.ranks import Ranks, on_rank_0, sum_over_ranks, uses_bf16
from tokenfuse_training.loop.spread import (
    LAYER_TYPES,
    alike,
    clip_gradients,
    local,
    no_sync,
    spread,
)
from tokenfuse_training.loop.whole_state import (
    fill_optimizer,
    fill_tensors,
    optimizer_tensors,
    whole_tensors,
)
from tokenfuse_training.model import JointModel

PICTURES = 7
STEPS = 4


def small_config():
    nano = named_config("nano")
    vision = dataclasses.replace(nano.vision, image_size=32, width=24, num_heads=2, num_layers=2)
    text = dataclasses.replace(nano.text, vocab_size=29, width=20, num_heads=2, head_dim=8)
    # Sharding costs by the layer: two of one stack are as good as two of each.
    text = dataclasses.replace(text, num_layers=1)
    decoder = dataclasses.replace(nano.decoder, num_layers=1)
    fusion = dataclasses.replace(
        nano.fusion, width=28, num_heads=2, mlp_dim=30, num_layers=2, num_iterations=2
    )
    return dataclasses.replace(
        nano, name="t", vision=vision, text=text, fusion=fusion, decoder=decoder
    )


@dataclasses.dataclass
class Losses:
    total: Tensor
    right: Tensor


class Objective(nn.Module):
    """The model and a head that only some steps train."""

    def __init__(self) -> None:
        super().__init__()
        config = small_config()
        self.model = JointModel(config)
        self.head = nn.Linear(config.text.width, config.text.vocab_size)

    def forward(self, batch: dict[str, Tensor], divisor: float, frozen: bool, head: bool) -> Losses:
        with torch.no_grad() if frozen else contextlib.nullcontext():
            f_BND = self.model.encode_image(batch["image"])
        text = batch["text"]
        encoded = self.model.encode_text(text)
        fused, mask = self.model.fuse_encoded(f_BND[batch["index"]], encoded, text)
        start = torch.zeros_like(batch["answer"][:, :1])
        logits = self.model.decode(torch.cat([start, batch["answer"][:, :-1]], 1), fused, mask)
        wide = torch.promote_types(logits.dtype, torch.float32)
        logits = logits.to(wide).flatten(0, 1)
        total = F.cross_entropy(logits, batch["answer"].flatten(), reduction="sum") / divisor
        if head:
            told = self.head(encoded[:, 0]).to(wide)
            total = total + F.cross_entropy(told, text[:, 1], reduction="sum") / divisor
        return Losses(total, (logits.argmax(-1) == batch["answer"].flatten()).sum())


def whole_batch(step: int) -> dict[str, Tensor]:
    """Two texts of each picture."""
    draw = torch.Generator().manual_seed(step)
    config = small_config()

    def ids(count: int, length: int) -> Tensor:
        return torch.randint(2, config.text.vocab_size, (count, length), generator=draw)

    size = config.vision.image_size
    return {
        "image": torch.randn(PICTURES, size, size, 3, generator=draw, dtype=torch.float64),
        "index": torch.arange(2 * PICTURES) // 2,
        "text": ids(2 * PICTURES, 6),
        "answer": ids(2 * PICTURES, 3),
    }


def part(
    batch: dict[str, Tensor], first: int, stride: int, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Every `stride`-th picture, its texts with it; may be empty."""
    pictures = torch.arange(min(first, PICTURES), PICTURES, stride)
    texts = torch.isin(batch["index"], pictures).nonzero()[:, 0]
    return {
        "image": batch["image"][pictures].to(dtype),
        "index": (batch["index"][texts] - first) // stride,
        "text": batch["text"][texts],
        "answer": batch["answer"][texts],
    }


class Training:
    """The stand-in for the Trainer."""

    def __init__(self, job: dict, ranks: Ranks) -> None:
        self.job, self.ranks = job, ranks
        run = RunSettings(
            device="cpu",
            strategy=job.get("strategy", "auto"),
            precision=job.get("precision", "fp32"),
        )
        self.bf16 = uses_bf16(run, ranks.device)
        self.dtype = getattr(torch, job.get("dtype", "float64"))
        # Another start on each rank: spread() must give all that of rank 0.
        torch.manual_seed(5 + ranks.rank)
        self.objective = objective = Objective().to(self.dtype)
        if job.get("recompute"):
            for module in objective.modules():
                if isinstance(module, LAYER_TYPES):
                    module.forward = recomputed(module.forward)
        self.module = spread(objective, ranks, run)
        self.named = dict(objective.named_parameters())
        self.image_side = [*objective.model.vision.parameters()]
        self.image_side += objective.model.image_projection.parameters()
        self.image_side += objective.model.fusion.image_resampler.parameters()
        groups = [
            [p for n, p in self.named.items() if ("bias" in n or p.ndim < 2) == free]
            for free in (True, False)
        ]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": some, "weight_decay": decay}
                for group, decay in zip(groups, (0.0, 0.05), strict=True)
                for some in alike(group)
            ],
            lr=3e-3,
            fused=True,
        )
        self.ema = {name: p.detach().clone() for name, p in self.named.items()}
        self.step = 0

    def autocast(self) -> torch.autocast:
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16)

    def train_step(self) -> dict[str, float]:
        world, accumulate = self.ranks.world_size, self.job.get("accumulate", 1)
        batch, frozen, head = whole_batch(self.step), self.step in (0, 2), self.step == 1
        # Stops and goes again behind spread(), as from stage to stage.
        for parameter in self.image_side:
            parameter.requires_grad_(not frozen)
        split = world * accumulate
        sums = torch.zeros(2, dtype=torch.float64)
        for micro in range(accumulate):
            own = part(batch, self.ranks.rank + world * micro, split, self.dtype)
            if self.job.get("lopsided") and self.step == 3:
                owner = world - 1
                own = part(batch, micro, accumulate, self.dtype)
                if self.ranks.rank != owner:
                    own = part(batch, PICTURES, accumulate, self.dtype)
            last = micro == accumulate - 1
            with contextlib.nullcontext() if last else no_sync(self.module):
                with self.autocast():
                    losses = self.module(own, 6.0 * PICTURES, frozen, head)
                losses.total.backward()
            sums += torch.stack([losses.total.detach().double(), losses.right.double()])
        norm = clip_gradients(self.named.values(), 0.5)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            ema = [local(e) for e in self.ema.values()]
            torch._foreach_lerp_(ema, [local(p) for p in self.named.values()], 0.1)
            # Learning progress: the same batch again, behind the update.
            with self.autocast():
                self.module(own, 1.0, frozen, head)
        self.step += 1
        loss, right = sum_over_ranks(sums).tolist()
        return {"loss": loss, "right": right, "norm": norm}

    def save(self, path: pathlib.Path) -> None:
        tensors = {f"model/{n}": p for n, p in self.named.items()}
        tensors |= {f"ema/{n}": p for n, p in self.ema.items()}
        state = optimizer_tensors(self.named, self.optimizer)
        tensors |= {f"optimizer/{n}": p for n, p in state.items()}
        whole = whole_tensors(tensors)
        assert bool(whole) == (self.ranks.rank == 0)
        on_rank_0(lambda: save_file(whole, path))

    def load(self, path: pathlib.Path, step: int) -> None:
        whole = load_file(path) if self.ranks.rank == 0 else {}

        def under(prefix: str) -> dict[str, Tensor]:
            return {n[len(prefix) :]: t for n, t in whole.items() if n.startswith(prefix)}

        fill_tensors(self.named, under("model/"), path.name)
        fill_tensors(self.ema, under("ema/"), path.name)
        fill_optimizer(self.named, self.optimizer, under("optimizer/"), path.name)
        self.step = step


def recomputed(forward):
    return lambda *args: checkpoint(forward, *args, use_reentrant=False)
