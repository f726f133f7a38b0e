"""What a training run is, as frozen data: model, data, stages, evaluation.

A YAML file holds the same names (`config_file.py`). What decides what is learned is part of a
checkpoint's identity (`loop/identity.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_sdk.sizes import SIZES
from tokenfuse_training.config.data_settings import DataSettings, ScenesData, format_of
from tokenfuse_training.config.run_settings import RunSettings
from tokenfuse_training.config.settings_checks import (
    FieldError,
    need,
    need_counts,
    need_names,
    need_seed,
)
from tokenfuse_training.config.stage_settings import StageSettings
from tokenfuse_training.config.task_data import check_asked, check_learned

__all__ = ["EvaluateSettings", "InitSettings", "ModelSettings", "TrainConfig"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """A named size, and what differs from it.

    Args:
        size: nano, tiny, small or base.
        vision, text, fusion, decoder: fields of the SDK's configs, name to value. With
            `init.vision` or `init.text` those parts take the shape of the checkpoint first.
    """

    size: str = "nano"
    vision: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    text: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fusion: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    decoder: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        need(self.size in SIZES, "model", "size", self.size, f"one of {', '.join(SIZES)}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InitSettings:
    """What to begin with in place of random weights.

    Args:
        vision: a Hugging Face folder of a ViT, DeiT or SigLIP.
        text: a Hugging Face folder of a T5 v1.1; its decoder is taken where it fits.
        bundle: a bundle of the same model; excludes the other two.
    """

    vision: str | None = None
    text: str | None = None
    bundle: str | None = None

    def __post_init__(self) -> None:
        if self.bundle is not None and (self.vision is not None or self.text is not None):
            raise FieldError(
                "init", "bundle holds a whole model; leave out init.vision and init.text"
            )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateSettings:
    """A data set to ask, and by which task.

    Args:
        task: vqa, gqa, entail or scenes; `describe` asks for the long texts of scenes.
        data: name of the data set.
        num_questions: at most; 0 for all.
    """

    task: str
    data: str
    num_questions: int = 0

    def __post_init__(self) -> None:
        tasks = ("vqa", "gqa", "entail", "scenes", "describe")
        need(self.task in tasks, "evaluate", "task", self.task, ", ".join(tasks))
        need_counts(self, "evaluate", "num_questions", low=0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """A whole run.

    Args:
        name: of the model.
        seed: of weights, data order and budgets.
        tokenizer: `scenes`, `scenes-pretrain` (with a mask and the word fill), or a
            tokenizer.json, a spiece.model or a folder that holds one; None takes that of
            `init.text` or `init.bundle`.
        preprocess: fields of the SDK's `PreprocessConfig`, name to value; `init.vision` sets
            its mean and deviation first.
    """

    name: str
    seed: int = 0
    model: ModelSettings = dataclasses.field(default_factory=ModelSettings)
    tokenizer: str | None = None
    preprocess: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    init: InitSettings = dataclasses.field(default_factory=InitSettings)
    data: Mapping[str, DataSettings]
    stages: tuple[StageSettings, ...]
    evaluate: Mapping[str, EvaluateSettings] = dataclasses.field(default_factory=dict)
    run: RunSettings = dataclasses.field(default_factory=RunSettings)

    def __post_init__(self) -> None:
        need_names("data", self.data)
        need_names("evaluate", self.evaluate)
        need_seed(self, "")
        need(bool(self.stages), "", "stages", self.stages, "at least one stage")
        for stage in self.stages:
            used = [self.data.get(task.data) for task in stage.tasks.values()]
            if stage.patch_weight and not any(isinstance(data, ScenesData) for data in used):
                raise ConfigError(
                    f"stages.{stage.name}.patch_weight={stage.patch_weight:g} needs the labels of "
                    "scenes, and no task of the stage has data of the format scenes; set it to 0, "
                    "or add such a task"
                )
        names = [stage.name for stage in self.stages]
        need(len(set(names)) == len(names), "", "stages", names, "a name of its own for each")
        users = [
            (f"stages.{stage.name}.tasks.{name}", task.data)
            for stage in self.stages
            for name, task in stage.tasks.items()
        ]
        users += [(f"evaluate.{name}", asked.data) for name, asked in self.evaluate.items()]
        for where, data in users:
            need(data in self.data, where, "data", data, f"one of {', '.join(self.data)}")
        for stage in self.stages:
            for name, task in stage.tasks.items():
                where = f"stages.{stage.name}.tasks.{name}"
                check_learned(where, task.task, task.data, format_of(self.data[task.data]))
        for name, asked in self.evaluate.items():
            check_asked(
                f"evaluate.{name}", asked.task, asked.data, format_of(self.data[asked.data])
            )

    @property
    def num_steps(self) -> int:
        """Updates over all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> tuple[StageSettings, int]:
        """The stage that a step (from 0) belongs to, and the step at which it begins."""
        began = 0
        for stage in self.stages:
            if step < began + stage.steps:
                return stage, began
            began += stage.steps
        return self.stages[-1], began - self.stages[-1].steps
