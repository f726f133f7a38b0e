"""A small run on pictures of one colour: what the tests of the loop train, also in processes."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
import torch

from tokenfuse_training.config.data_settings import DataSettings
from tokenfuse_training.config.run_settings import RunSettings
from tokenfuse_training.config.stage_settings import SamplerSettings, StageSettings, TaskSettings
from tokenfuse_training.config.train_config import ModelSettings, TrainConfig
from tokenfuse_training.data.record import Answer, Question, Record
from tokenfuse_training.errors import BadRecordError
from tokenfuse_training.loop.ranks import Ranks
from tokenfuse_training.loop.trainer import Trainer
from tokenfuse_training.start import begin

COLORS = ("red", "green", "blue", "yellow", "purple")
SIZE = 16


@dataclasses.dataclass
class Colors:
    """Pictures of a colour and noise, with questions, captions and statements; some are bad."""

    count: int = 40
    bad: tuple[int, ...] = ()
    fingerprint: str = "colors-1"

    def __len__(self) -> int:
        return self.count

    def record(self, index: int) -> Record:
        key = f"colors/{index}"
        if index in self.bad:
            raise BadRecordError(f"{key} is bad")
        draw = np.random.Generator(np.random.Philox(key=index))
        color = COLORS[index % 5]
        image = draw.integers(0, 60, (SIZE, SIZE, 3), dtype=np.uint8)
        image[..., index % 3] += np.uint8(40 * (index % 5))
        same = (Answer(text=color, weight=0.6), Answer(text=f"the {color} one", weight=0.3))
        return Record(
            key=key,
            image=image,
            captions=(f"a {color} picture", f"is there a {color} thing in the picture"),
            questions=(
                Question(id=f"{index}/0", text="what color is it?", answers=same, kind="color"),
                Question(
                    id=f"{index}/1",
                    text=f"is the picture {color}?",
                    answers=(Answer(text="yes"),),
                    kind="existence",
                ),
            ),
            statements=(
                Question(id=f"{index}/2", text="it is red", answers=(Answer(text="entailment"),)),
            ),
        )


def stage(name: str = "one", **changes: Any) -> StageSettings:
    tasks = {
        "ask": TaskSettings(task="vqa", data="colors", texts=2),
        "tell": TaskSettings(task="caption", data="colors"),
    }
    values = {
        "steps": 6,
        "batch_size": 5,
        "tasks": tasks,
        "warmup_steps": 2,
        "sampler": SamplerSettings(warmup_steps=1, update_steps=2, ahead=2),
    }
    return StageSettings(name=name, **(values | changes))


def toy_config(*stages: StageSettings, **changes: Any) -> TrainConfig:
    """A run of a model of some 60,000 weights."""
    settings = {"num_heads": 2, "num_layers": 1, "width": 16}
    values = {
        "name": "toy",
        "seed": 3,
        "tokenizer": "scenes",
        "model": ModelSettings(
            size="nano",
            vision=settings
            | {"image_size": SIZE, "patch_size": 4, "mlp_dim": 32, "stem_widths": (8,)},
            text=settings | {"head_dim": 8, "mlp_dim": 24},
            fusion=settings
            | {"mlp_dim": 32, "num_latents": 4, "num_iterations": 1, "token_budgets": (2, 4)},
            decoder={"num_heads": 2, "num_layers": 1, "head_dim": 8, "mlp_dim": 24},
        ),
        "data": {"colors": DataSettings()},
        "stages": stages or (stage(),),
        "run": toy_run(),
    }
    return TrainConfig(**(values | changes))


def toy_run(**changes: Any) -> RunSettings:
    values = {
        "device": "cpu",
        "log_steps": 2,
        "tensorboard": False,
        "peak_tflops": 0.1,
        "checkpoint_minutes": 1e6,
    }
    return RunSettings(**(values | changes))


def trainer_of(
    config: TrainConfig,
    folder: pathlib.Path,
    source: Colors | None = None,
    ranks: Ranks | None = None,
) -> Trainer:
    return Trainer(
        config,
        begin(config),
        {"colors": source or Colors()},
        ranks=ranks or Ranks(),
        directory=folder,
    )


def train(config: TrainConfig, folder: pathlib.Path, **options: Any) -> Trainer:
    minutes = options.pop("max_minutes", float("inf"))
    trainer = trainer_of(config, folder, **options)
    trainer.run(lambda line: None, minutes)
    return trainer


def log_of(folder: pathlib.Path) -> list[dict[str, Any]]:
    text = (folder / "log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    """A copy."""
    return {name: tensor.detach().clone() for name, tensor in trainer.state.named.items()}
