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
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tokenfuse_sdk.config import ModelConfig
from tokenfuse_training.checkpoint import load_checkpoint, load_weights, save_checkpoint
from tokenfuse_training.data.batches import Batch, TextBatch, draw_batch
from tokenfuse_training.data.scenes.labels import NUM_COLOR_LABELS, NUM_KIND_LABELS
from tokenfuse_training.data.store import SceneStore
from tokenfuse_training.dense import DenseHeads
from tokenfuse_training.frozen import image_side, merged_tokens
from tokenfuse_training.model import JointModel
from tokenfuse_training.model.fusion import FusionIteration
from tokenfuse_training.model.layers import SelfLayer
from tokenfuse_training.model.t5 import DecoderLayer, EncoderLayer
from tokenfuse_training.recipes.recipe import Recipe, Stage
from tokenfuse_training.resume import facts_to_resume, run_identity
from tokenfuse_training.word_order import WordOrderHeads

__all__ = ["Trainer", "TrainerOptions"]

# Relative biases are logits, and all that tells the order of words: to matter they must grow to
# several units, while Adam moves a weight by no more than the learning rate a step. At the rate
# of the rest they stayed below 0.2, and "is the 7 left of the star?" was answered by chance.
_RELATIVE_BIAS_LR_SCALE = 30.0
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
        start_weights: begin with these in place of random ones. A checkpoint goes on only where
            its run began alike.
        start_stage: the stage to begin with then; the optimiser starts fresh and warms up.
    """

    directory: pathlib.Path
    device: str = "cpu"
    bf16: bool = False
    compile: bool = False
    max_minutes: float = float("inf")
    checkpoint_minutes: float = 3.0
    start_weights: Mapping[str, Tensor] | None = None
    start_stage: str = ""


class Trainer:
    """Holds model, moving average, dense heads and optimiser of one run.

    Raises:
        ConfigError: the folder holds a checkpoint of another run, or the weights do not fit.
    """

    def __init__(
        self, recipe: Recipe, model_config: ModelConfig, store: SceneStore, options: TrainerOptions
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.store, self.options = recipe, store, options
        self.model = JointModel(model_config).to(options.device)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        width = model_config.vision.width
        self.heads = DenseHeads(width, NUM_COLOR_LABELS, NUM_KIND_LABELS).to(options.device)
        text = model_config.text
        self.word_order = WordOrderHeads(text.width, text.vocab_size).to(options.device)
        self.optimizer = self._make_optimizer()
        self.seconds = 0.0
        self._tokens_BND: np.ndarray | None = None
        self._identity = run_identity(
            recipe,
            store.spec,
            start_weights=options.start_weights,
            start_stage=options.start_stage,
        )
        self.step = self.first_step = int(self._identity["first_step"])
        facts = facts_to_resume(options.directory, self._identity)
        if facts is not None:
            load_checkpoint(options.directory, modules=self._modules(), optimizer=self.optimizer)
            self.step, self.seconds = int(facts["step"]), float(facts["seconds"])
        elif options.start_weights is not None:
            for module in (self.model, self.ema):
                load_weights(module, options.start_weights, "start_weights")
        if options.compile:
            torch._dynamo.config.recompile_limit = 64
            for module in self.model.modules():
                if isinstance(module, _COMPILED_TYPES):
                    module.compile(dynamic=False)

    def _modules(self) -> dict[str, nn.Module]:
        return {
            "model": self.model,
            "ema": self.ema,
            "heads": self.heads,
            "word_order": self.word_order,
        }

    def _make_optimizer(self) -> torch.optim.Optimizer:
        # Vectors and scalars (norms, biases, gates), latents and positions do not decay.
        decayed, free, biases = [], [], []
        for module in (self.model, self.heads, self.word_order):
            for name, parameter in module.named_parameters():
                if "relative_bias" in name:
                    biases.append(parameter)
                elif parameter.ndim < 2 or "latents" in name or "position" in name:
                    free.append(parameter)
                else:
                    decayed.append(parameter)
        groups = [
            {"params": decayed, "weight_decay": self.recipe.weight_decay, "lr_scale": 1.0},
            {"params": free, "weight_decay": 0.0, "lr_scale": 1.0},
            {"params": biases, "weight_decay": 0.0, "lr_scale": _RELATIVE_BIAS_LR_SCALE},
        ]
        return torch.optim.AdamW(
            groups, lr=self.recipe.learning_rate, betas=(0.9, 0.98), fused=True
        )

    def _frozen_tokens(self) -> np.ndarray:
        """The merged tokens of the store; the first call stops the image side at its average."""
        if self._tokens_BND is None:
            averaged = image_side(self.ema)
            image_side(self.model).load_state_dict(averaged.state_dict())
            options = self.options
            self._tokens_BND = merged_tokens(
                self.ema, self.store, options.directory, bf16=options.bf16
            )
        return self._tokens_BND

    def _budget_at(self, step: int) -> int:
        rng = np.random.Generator(np.random.Philox(key=[self.recipe.seed + 1, step]))
        stage = self.recipe.stage_at(step)
        weights = np.asarray(stage.budget_weights or self.recipe.budget_weights)
        return int(rng.choice(self.model.config.fusion.token_budgets, p=weights / weights.sum()))

    def _text_loss(
        self,
        f_BND: Tensor,
        texts: TextBatch,
        stage: Stage,
        budget: int,
        parts: dict[str, Tensor],
    ) -> Tensor:
        """Mean cross-entropy per answer token; `parts` gets each family's share of right ones."""
        device = self.options.device
        answer_QA = texts.answer_QA.to(device)
        f_QND = f_BND[texts.image_index_Q.to(device)]
        text_QL = texts.text_QL.to(device)
        encoded_QLT = self.model.encode_text(text_QL)
        fused, mask = self.model.fuse_encoded(f_QND, encoded_QLT, text_QL, budget)
        logits = self.model.decode(texts.decoder_input_QA.to(device), fused, mask).float()
        loss = F.cross_entropy(logits.flatten(0, 1), answer_QA.flatten(), ignore_index=0)
        wrong = (logits.detach().argmax(-1) != answer_QA) & (answer_QA != 0)
        right_Q = 1.0 - wrong.any(dim=1).float().cpu()
        for family in texts.family_Q.unique().tolist():
            parts[f"right/{texts.families[family]}"] = right_Q[texts.family_Q == family].mean()
        if stage.word_order_weight:
            order, parts["word_order_acc"] = self.word_order(encoded_QLT, text_QL)
            loss = loss + stage.word_order_weight * order
        return loss

    def losses(self, batch: Batch, stage: Stage, budget: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The stage's weighted loss and its parts."""
        device = self.options.device
        parts: dict[str, Tensor] = {}
        with torch.autocast(
            torch.device(device).type, dtype=torch.bfloat16, enabled=self.options.bf16
        ):
            total = torch.zeros((), device=device)
            if stage.frozen_image:
                kept_BND = self._frozen_tokens()[batch.scene_B, :budget]
                f_BND = torch.from_numpy(kept_BND).to(device).float()
            else:
                self._tokens_BND = None
                x_BSC = self.model.encode_patches(batch.image_BHW3.to(device))
                if stage.num_texts:
                    f_BND = self.model.merge_image(x_BSC, budget)
            if stage.dense_weight:
                grid_BSC = x_BSC[:, x_BSC.shape[1] - batch.patch_kind_BS.shape[1] :]
                loss, parts["patch_acc"] = self.heads(
                    grid_BSC, batch.patch_color_BS.to(device), batch.patch_kind_BS.to(device)
                )
                parts["patch_loss"] = loss
                total = total + stage.dense_weight * loss
            if batch.questions is not None:
                loss = self._text_loss(f_BND, batch.questions, stage, budget, parts)
                parts["question_loss"] = loss
                total = total + loss
            if batch.descriptions is not None:
                loss = self._text_loss(f_BND, batch.descriptions, stage, budget, parts)
                parts["description_loss"] = loss
                total = total + stage.description_weight * loss
            if batch.stones is not None:
                loss = self._text_loss(f_BND, batch.stones, stage, budget, parts)
                parts["stone_loss"] = loss
                total = total + loss
        return total, parts

    def train_step(self) -> dict[str, float]:
        """One update; returns the losses, accuracies and budget of its batch."""
        stage = self.recipe.stage_at(self.step)
        batch = draw_batch(self.store, stage, seed=self.recipe.seed, step=self.step)
        budget = self._budget_at(self.step)
        for group in self.optimizer.param_groups:
            rate = self.recipe.learning_rate_at(self.step, self.first_step)
            group["lr"] = rate * group["lr_scale"]
        loss, parts = self.losses(batch, stage, budget)
        loss.backward()
        parameters = [p for g in self.optimizer.param_groups for p in g["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.recipe.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._update_ema()
        self.step += 1
        values = {name: float(value.detach()) for name, value in parts.items()}
        return values | {
            "loss": float(loss.detach()),
            "grad_norm": float(norm),
            "budget": float(budget),
        }

    @torch.no_grad()
    def _update_ema(self) -> None:
        # A young average follows faster, so that it forgets the random start.
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        averaged = list(self.ema.parameters())
        torch._foreach_lerp_(averaged, list(self.model.parameters()), 1.0 - decay)

    def save(self) -> None:
        """Write a checkpoint."""
        save_checkpoint(
            self.options.directory,
            step=self.step,
            modules=self._modules(),
            optimizer=self.optimizer,
            facts={"seconds": self.seconds, "run": self._identity},
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
