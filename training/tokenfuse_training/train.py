"""The trainer: one loop for every recipe on scenes, resumable at any step.

The batch and the token budget of a step depend on the seed and the step alone,
so a resumed run goes on as if it had not been stopped.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import pathlib
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tokenfuse_sdk.config import ModelConfig
from tokenfuse_training.checkpoint import load_checkpoint, save_checkpoint
from tokenfuse_training.data.batches import Batch, TextBatch, draw_batch
from tokenfuse_training.data.scenes.labels import NUM_COLOR_LABELS, NUM_KIND_LABELS
from tokenfuse_training.data.store import SceneStore
from tokenfuse_training.dense import DenseHeads
from tokenfuse_training.model import JointModel
from tokenfuse_training.model.fusion import FusionIteration
from tokenfuse_training.model.layers import SelfLayer
from tokenfuse_training.model.t5 import DecoderLayer, EncoderLayer
from tokenfuse_training.recipes.recipe import Recipe, Stage

__all__ = ["Trainer", "TrainerOptions"]

_COMPILED_TYPES = (SelfLayer, FusionIteration, EncoderLayer, DecoderLayer)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrainerOptions:
    """How to run a recipe here; none of it changes what is learned, up to rounding.

    Args:
        directory: checkpoints and the log go here.
        device: a torch device.
        bf16: matrix products in bfloat16; weights and sums stay float32.
        compile: compile the layers; pays off after some minutes.
        max_minutes: stop after the step at which this is passed, with a checkpoint.
        checkpoint_minutes: time between checkpoints.
    """

    directory: pathlib.Path
    device: str = "cpu"
    bf16: bool = True
    compile: bool = False
    max_minutes: float = float("inf")
    checkpoint_minutes: float = 3.0


class Trainer:
    """Holds model, moving average, dense heads and optimiser of one run."""

    def __init__(
        self, recipe: Recipe, model_config: ModelConfig, store: SceneStore, options: TrainerOptions
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.store, self.options = recipe, store, options
        self.model = JointModel(model_config).to(options.device)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        width = model_config.vision.width
        self.heads = DenseHeads(width, NUM_COLOR_LABELS, NUM_KIND_LABELS).to(options.device)
        self.optimizer = self._make_optimizer()
        self.step, self.seconds = 0, 0.0
        facts = load_checkpoint(
            options.directory, modules=self._modules(), optimizer=self.optimizer
        )
        if facts is not None:
            self.step, self.seconds = int(facts["step"]), float(facts["seconds"])
        if options.compile:
            torch._dynamo.config.recompile_limit = 64
            for module in self.model.modules():
                if isinstance(module, _COMPILED_TYPES):
                    module.compile(dynamic=False)

    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self.model, "ema": self.ema, "heads": self.heads}

    def _make_optimizer(self) -> torch.optim.Optimizer:
        # Vectors and scalars (norms, biases, gates), latents and positions do not decay.
        decayed, free = [], []
        for module in (self.model, self.heads):
            for name, parameter in module.named_parameters():
                keep = parameter.ndim < 2 or "latents" in name or "position" in name
                (free if keep else decayed).append(parameter)
        groups = [
            {"params": decayed, "weight_decay": self.recipe.weight_decay},
            {"params": free, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(
            groups, lr=self.recipe.learning_rate, betas=(0.9, 0.98), fused=True
        )

    def _budget_at(self, step: int) -> int:
        rng = np.random.Generator(np.random.Philox(key=[self.recipe.seed + 1, step]))
        weights = np.asarray(self.recipe.budget_weights)
        return int(rng.choice(self.model.config.fusion.token_budgets, p=weights / weights.sum()))

    def _text_loss(self, f_BND: Tensor, texts: TextBatch, budget: int) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy per answer token, and the share of answers right in full."""
        device = self.options.device
        answer_QA = texts.answer_QA.to(device)
        f_QND = f_BND[texts.image_index_Q.to(device)]
        fused, mask = self.model.fuse(f_QND, texts.text_QL.to(device), budget)
        logits = self.model.decode(texts.decoder_input_QA.to(device), fused, mask).float()
        loss = F.cross_entropy(logits.flatten(0, 1), answer_QA.flatten(), ignore_index=0)
        wrong = (logits.argmax(-1) != answer_QA) & (answer_QA != 0)
        return loss, 1.0 - wrong.any(dim=1).float().mean()

    def losses(self, batch: Batch, stage: Stage, budget: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The stage's weighted loss and its parts."""
        device = self.options.device
        parts: dict[str, Tensor] = {}
        with torch.autocast(
            torch.device(device).type, dtype=torch.bfloat16, enabled=self.options.bf16
        ):
            x_BSC = self.model.encode_patches(batch.image_BHW3.to(device))
            grid_BSC = x_BSC[:, x_BSC.shape[1] - batch.patch_kind_BS.shape[1] :]
            total = x_BSC.new_zeros((), dtype=torch.float32)
            if stage.dense_weight:
                loss, parts["patch_acc"] = self.heads(
                    grid_BSC, batch.patch_color_BS.to(device), batch.patch_kind_BS.to(device)
                )
                parts["patch_loss"] = loss
                total = total + stage.dense_weight * loss
            if batch.questions is not None or batch.descriptions is not None:
                f_BND = self.model.merge_image(x_BSC, budget)
            if batch.questions is not None:
                loss, parts["question_acc"] = self._text_loss(f_BND, batch.questions, budget)
                parts["question_loss"] = loss
                total = total + loss
            if batch.descriptions is not None:
                loss, parts["description_acc"] = self._text_loss(f_BND, batch.descriptions, budget)
                parts["description_loss"] = loss
                total = total + stage.description_weight * loss
            if batch.stones is not None:
                loss, parts["stone_acc"] = self._text_loss(f_BND, batch.stones, budget)
                parts["stone_loss"] = loss
                total = total + loss
        return total, parts

    def train_step(self) -> dict[str, float]:
        """One update; returns the losses, accuracies and budget of its batch."""
        stage = self.recipe.stage_at(self.step)
        batch = draw_batch(self.store, stage, seed=self.recipe.seed, step=self.step)
        budget = self._budget_at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate_at(self.step)
        loss, parts = self.losses(batch, stage, budget)
        loss.backward()
        parameters = [p for g in self.optimizer.param_groups for p in g["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.recipe.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._update_ema()
        self.step += 1
        values = {name: float(value) for name, value in parts.items()}
        return values | {"loss": float(loss), "grad_norm": float(norm), "budget": float(budget)}

    @torch.no_grad()
    def _update_ema(self) -> None:
        # A young average follows faster, so that it forgets the random start.
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        averaged = list(self.ema.parameters())
        torch._foreach_lerp_(averaged, list(self.model.parameters()), 1.0 - decay)

    def save(self) -> None:
        """Write a checkpoint."""
        facts = {"seconds": self.seconds, "recipe": self.recipe.name, "seed": self.recipe.seed}
        save_checkpoint(
            self.options.directory,
            step=self.step,
            modules=self._modules(),
            optimizer=self.optimizer,
            facts=facts,
        )

    def run(self, report: Callable[[dict[str, float]], None]) -> bool:
        """Train to the recipe's end or `max_minutes`; true when the recipe is done.

        `report` gets the mean of every value since its last call, about every 50 steps.
        """
        began = last_saved = time.monotonic()
        seconds_before = self.seconds
        window: dict[str, list[float]] = {}
        self.options.directory.mkdir(parents=True, exist_ok=True)
        log = (self.options.directory / "log.jsonl").open("a", encoding="utf-8")
        with log:
            while self.step < self.recipe.num_steps:
                for name, value in self.train_step().items():
                    window.setdefault(name, []).append(value)
                now = time.monotonic()
                self.seconds = seconds_before + now - began
                if self.step % 50 == 0:
                    values = {name: float(np.mean(v)) for name, v in window.items()}
                    values |= {"step": self.step, "seconds": round(self.seconds, 1)}
                    log.write(json.dumps(values) + "\n")
                    log.flush()
                    report(values)
                    window.clear()
                if now - last_saved > 60 * self.options.checkpoint_minutes:
                    self.save()
                    last_saved = now
                if now - began > 60 * self.options.max_minutes:
                    break
            self.save()
        return self.step >= self.recipe.num_steps
