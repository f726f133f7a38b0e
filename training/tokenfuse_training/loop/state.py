"""All that training changes: weights, their average, moments; and how it is kept."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tokenfuse_sdk.errors import NotFiniteError
from tokenfuse_training.config.run_settings import RunSettings
from tokenfuse_training.config.stage_settings import StageSettings
from tokenfuse_training.loop.checkpoints import (
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from tokenfuse_training.loop.ema import MovingAverage
from tokenfuse_training.loop.layer_options import prepare_layers
from tokenfuse_training.loop.optimizer import make_optimizer
from tokenfuse_training.loop.ranks import Ranks, on_rank_0
from tokenfuse_training.loop.spread import spread
from tokenfuse_training.loop.whole_state import (
    fill_optimizer,
    fill_tensors,
    optimizer_tensors,
    whole_tensors,
)
from tokenfuse_training.objective import Objective
from tokenfuse_training.start import Beginning

__all__ = ["TrainState"]


class TrainState:
    """Weights on this rank, as the strategy spreads them.

    Args:
        beginning: the model is taken over.
        stage: the first one to run: its optimizer.
        seed: of the heads that the model does not have.
        ranks, run: where and how.
    """

    def __init__(
        self,
        beginning: Beginning,
        stage: StageSettings,
        *,
        seed: int,
        ranks: Ranks,
        run: RunSettings,
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.objective = Objective(beginning.model, beginning.preprocess)
        self.objective.train()
        prepare_layers(self.objective, run)
        # What is called; the names are those of the objective.
        self.module = spread(self.objective, ranks, run)
        self.ema = MovingAverage(self.objective.model)
        self.named = dict(self.objective.named_parameters())
        assert not list(self.objective.buffers()), "a checkpoint holds parameters only"
        self.optimizer = make_optimizer(self.objective, stage)

    def _kept(self) -> dict[str, Tensor]:
        weights = {f"weights/{name}": tensor for name, tensor in self.named.items()}
        return weights | {f"ema/{name}": tensor for name, tensor in self.ema.tensors.items()}

    def save(self, folder: pathlib.Path, step: int, facts: Mapping[str, Any], keep: int) -> None:
        """Write a checkpoint; every rank calls it.

        Raises:
            CheckpointError: it cannot be written.
            NotFiniteError: weights are not finite; nothing is written.
        """
        moments = optimizer_tensors(self.named, self.optimizer)
        whole = whole_tensors(
            self._kept() | {f"optimizer/{name}": tensor for name, tensor in moments.items()}
        )

        def write() -> None:
            for name, tensor in whole.items():
                if not bool(tensor.isfinite().all()):
                    last = newest_checkpoint(folder)
                    stays = f"{last.name} stays" if last else "there is none before it"
                    raise NotFiniteError(
                        f"step {step}: {name} is not finite, so no checkpoint is written; {stays}; "
                        "try a lower learning_rate in a new --work"
                    )
            write_checkpoint(folder, step=step, tensors=whole, facts=facts, keep=keep)

        on_rank_0(write)

    def load(self, path: pathlib.Path) -> None:
        """Take over a checkpoint, written on any number of ranks; every rank calls it.

        Raises:
            CheckpointError: it is damaged, or of another model.
        """
        held: dict[str, Tensor] = {}
        # Rank 0 alone reads; the tensors go to the others from there.
        on_rank_0(lambda: held.update(read_checkpoint(path)[0]))
        kept = {n: t for n, t in held.items() if not n.startswith("optimizer/")}
        fill_tensors(self._kept(), kept, str(path))
        moments = {n[len("optimizer/") :]: t for n, t in held.items() if n not in kept}
        fill_optimizer(self.named, self.optimizer, moments, str(path))
