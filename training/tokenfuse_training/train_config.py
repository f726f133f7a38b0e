"""What a training run is, as frozen data: model, data, stages, evaluation.

A YAML file holds the same names (`config_file.py`). All but `run` decides what is learned, and
is part of a checkpoint's identity.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.task_data import check_asked, check_learned

__all__ = [
    "DATA_FORMATS",
    "SAMPLERS",
    "TASKS",
    "CocoCaptionsData",
    "DataSettings",
    "EvaluateSettings",
    "GqaData",
    "InitSettings",
    "ModelSettings",
    "RunSettings",
    "SamplerSettings",
    "ScenesData",
    "SnliVeData",
    "StageSettings",
    "TaskSettings",
    "TrainConfig",
    "Vqa2Data",
    "WebDatasetData",
    "format_of",
]

TASKS = ("caption", "complete", "match", "fill", "vqa", "gqa", "entail", "scenes")
SAMPLERS = ("stratified", "proportional", "difficulty", "odm", "learning_progress")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


def _need(ok: bool, owner: str, name: str, value: object, allowed: str) -> None:
    if not ok:
        raise ConfigError(f"{owner}.{name}={value!r}: need {allowed}")


def _count(owner: object, where: str, *names: str, low: int = 1) -> None:
    for name in names:
        value = getattr(owner, name)
        ok = isinstance(value, int) and not isinstance(value, bool) and value >= low
        _need(ok, where, name, value, f"an integer of at least {low}")


def _within(owner: object, where: str, name: str, low: float, high: float) -> None:
    value = getattr(owner, name)
    ok = isinstance(value, float) and math.isfinite(value) and low <= value <= high
    _need(ok, where, name, value, f"a number from {low:g} to {high:g}")


def _names(where: str, values: Mapping[str, Any]) -> None:
    for name in values:
        ok = isinstance(name, str) and _NAME.fullmatch(name) is not None
        _need(ok, where, "name", name, "lower-case letters, digits, `_`, `.` and `-`, at most 64")


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
            raise ConfigError(
                "init.bundle holds a whole model; leave out init.vision and init.text"
            )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """What every format has.

    Args:
        root: the folder that the other paths start from.
        limit: use the first so many pictures only; 0 for all.
        max_bad_share: of the records seen, how many may be unusable before it is an error.
    """

    root: str = "."
    limit: int = 0
    max_bad_share: float = 0.01

    def __post_init__(self) -> None:
        _count(self, "data", "limit", low=0)
        _within(self, "data", "max_bad_share", 0.0, 1.0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Vqa2Data(DataSettings):
    """VQA v2.0: questions and annotations as published, and a folder of COCO pictures."""

    questions: str
    annotations: str | None = None
    images: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GqaData(DataSettings):
    """GQA: one of the published question files, and the folder of its pictures."""

    questions: str
    images: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SnliVeData(DataSettings):
    """SNLI-VE: one of the published jsonl files, and the folder of Flickr30k pictures."""

    annotations: str
    images: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CocoCaptionsData(DataSettings):
    """COCO captions: a captions_*.json, and a folder of COCO pictures."""

    annotations: str
    images: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WebDatasetData(DataSettings):
    """Tar shards of image-text pairs, streamed.

    Args:
        shards: files or brace patterns (`cc-{000000..000331}.tar`), under `root`.
        image, caption: extensions of a sample's picture (in order of preference, with `;`
            between them) and text.
        num_streams: shards are dealt out to so many streams, which ranks share; a multiple of
            the number of ranks, at most the number of shards.
        shuffle: samples of a stream's shuffle buffer.
    """

    shards: tuple[str, ...]
    image: str = "jpg;jpeg;png;webp"
    caption: str = "txt"
    num_streams: int = 1
    shuffle: int = 1000

    def __post_init__(self) -> None:
        super(WebDatasetData, self).__post_init__()
        _need(bool(self.shards), "data", "shards", self.shards, "at least one file or pattern")
        _count(self, "data", "num_streams", "shuffle")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ScenesData(DataSettings):
    """Generated scenes; `root` is the folder that keeps what was drawn.

    Args:
        split: train, val or test.
        num_scenes: scenes 0 to num_scenes - 1 of the split.
        num_questions: of each at most.
        seed: of the generator.
        families: only questions of these; empty for all.
        hide: `picture` makes all of them grey, `question` makes all questions the same: what is
            learned then is what the data give away. Empty for neither.
    """

    split: str = "train"
    num_scenes: int = 10_000
    num_questions: int = 16
    seed: int = 2305
    families: tuple[str, ...] = ()
    hide: str = ""

    def __post_init__(self) -> None:
        super(ScenesData, self).__post_init__()
        _need(
            self.split in ("train", "val", "test"), "data", "split", self.split, "train, val, test"
        )
        hidden = ("", "picture", "question")
        _need(self.hide in hidden, "data", "hide", self.hide, "picture, question or nothing")
        _count(self, "data", "num_scenes", "num_questions")
        _count(self, "data", "seed", low=0)


# `format` in a file, to what it holds.
DATA_FORMATS: dict[str, type[DataSettings]] = {
    "vqa2": Vqa2Data,
    "gqa": GqaData,
    "snli_ve": SnliVeData,
    "coco_captions": CocoCaptionsData,
    "webdataset": WebDatasetData,
    "scenes": ScenesData,
}


def format_of(settings: DataSettings) -> str:
    """The name of its format; empty where it has none, as that of a test."""
    names = (name for name, kind in DATA_FORMATS.items() if type(settings) is kind)
    return next(names, "")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TaskSettings:
    """One task of a stage.

    Args:
        task: one of `TASKS`.
        data: name of the data set.
        texts: at most so many texts of one picture in a step.
        reference_loss: the loss that a well-trained model has; for the sampler `difficulty`.
        size: pictures of the data set, for the sampler `proportional`; 0 asks the data set, which
            a stream cannot answer.
        options: of the task itself (`scenes` and `fill` have some).
    """

    task: str
    data: str
    texts: int = 1
    reference_loss: float = 0.0
    size: int = 0
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _need(self.task in TASKS, "task", "task", self.task, f"one of {', '.join(TASKS)}")
        _count(self, "task", "texts")
        _count(self, "task", "size", low=0)
        _within(self, "task", "reference_loss", 0.0, 1e6)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SamplerSettings:
    """How a step's pictures are shared out among the tasks; see docs/training.md.

    Args:
        kind: one of `SAMPLERS`.
        warmup_steps: stratified until then (all but the controls); the losses at its end are the
            scale of difficulty.
        update_steps: U, steps between two changes of the shares (difficulty).
        loss_decay: rho, of the moving average of losses (difficulty).
        temperature: tau (difficulty).
        floor: gamma, the part of the control that is always mixed in (difficulty).
        smoothing: alpha of the reward's moving average (odm).
        power: of a task's size (proportional).
        exploration: gamma of Exp3.S (learning_progress).
        step_size: eta of Exp3.S (learning_progress).
        ahead: a step's shares are fixed so many steps before it, so that data can be prepared.
    """

    kind: str = "stratified"
    warmup_steps: int = 200
    update_steps: int = 200
    loss_decay: float = 0.98
    temperature: float = 0.5
    floor: float = 0.2
    smoothing: float = 0.9
    power: float = 0.5
    exploration: float = 0.1
    step_size: float = 0.1
    ahead: int = 8

    def __post_init__(self) -> None:
        own = "sampler"
        _need(self.kind in SAMPLERS, own, "kind", self.kind, f"one of {', '.join(SAMPLERS)}")
        _count(self, own, "update_steps", "ahead")
        _count(self, own, "warmup_steps", low=0)
        for name in ("loss_decay", "smoothing", "floor", "power", "exploration"):
            _within(self, own, name, 0.0, 1.0)
        _within(self, own, "temperature", 1e-3, 1e3)
        _within(self, own, "step_size", 1e-6, 1e3)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StageSettings:
    """Steps with one mixture of tasks and one course of the learning rate.

    Args:
        steps: updates.
        batch_size: pictures of one update, over all ranks and micro-batches.
        tasks: name to task.
        sampler: how pictures are shared out among the tasks.
        learning_rate: the highest; it rises over `warmup_steps`.
        schedule: `cosine` falls from the warm-up's end to the stage's, `constant` stays,
            `linear_tail` stays and falls linearly over the last `tail_share` of the stage.
        final_rate_share: of the learning rate, at the end of `cosine` and `linear_tail`.
        weight_decay, betas: of AdamW.
        max_grad_norm: longer gradients are scaled down to it; 0 for no limit.
        ema_decay: of the moving average of weights, which is what is published.
        accumulate: micro-batches of one update; changes nothing but memory and rounding.
        budget_weights: how likely each token budget of the model is in a step; empty for
            all alike.
        fresh_optimizer: begin with new moments; False goes on with those of the stage before.
        freeze: parts that stand still: `image` (what a picture passes before a question is known)
            and `text` (embedding and text encoder).
        patch_weight: weight of the per-patch labels (scenes only).
        word_order_weight: weight of telling each word's predecessors.
    """

    name: str
    steps: int
    batch_size: int
    tasks: Mapping[str, TaskSettings]
    sampler: SamplerSettings = dataclasses.field(default_factory=SamplerSettings)
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    schedule: str = "cosine"
    tail_share: float = 0.1
    final_rate_share: float = 0.0
    weight_decay: float = 0.05
    betas: tuple[float, ...] = (0.9, 0.98)
    max_grad_norm: float = 1.0
    ema_decay: float = 0.995
    accumulate: int = 1
    budget_weights: tuple[float, ...] = ()
    fresh_optimizer: bool = True
    freeze: tuple[str, ...] = ()
    patch_weight: float = 0.0
    word_order_weight: float = 0.0

    def __post_init__(self) -> None:
        own = f"stage {self.name!r}"
        _names("stages", {self.name: None})
        _names(f"{own}: tasks", self.tasks)
        _count(self, own, "steps", "batch_size", "accumulate")
        _count(self, own, "warmup_steps", low=0)
        _need(bool(self.tasks), own, "tasks", dict(self.tasks), "at least one task")
        schedules = ("cosine", "constant", "linear_tail")
        _need(self.schedule in schedules, own, "schedule", self.schedule, ", ".join(schedules))
        for name, high in (("learning_rate", 10.0), ("weight_decay", 10.0), ("max_grad_norm", 1e6)):
            _within(self, own, name, 0.0, high)
        for name in ("tail_share", "final_rate_share", "ema_decay"):
            _within(self, own, name, 0.0, 1.0)
        for name in ("patch_weight", "word_order_weight"):
            _within(self, own, name, 0.0, 1e3)
        ok = len(self.betas) == 2 and all(0.0 <= beta < 1.0 for beta in self.betas)
        _need(ok, own, "betas", self.betas, "two numbers from 0 to below 1")
        ok = all(weight >= 0 for weight in self.budget_weights)
        _need(ok, own, "budget_weights", self.budget_weights, "numbers of at least 0")
        for part in self.freeze:
            _need(part in ("image", "text"), own, "freeze", part, "image, text")
        if self.patch_weight and "image" in self.freeze:
            raise ConfigError(
                f"{own}: patch_weight={self.patch_weight} trains the image encoder, which "
                "freeze=image stops; set one of them only"
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
        _need(self.task in tasks, "evaluate", "task", self.task, ", ".join(tasks))
        _count(self, "evaluate", "num_questions", low=0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """How the run goes here; none of it changes what is learned, up to rounding.

    Args:
        device: a torch device, or `auto`.
        precision: `fp32`, or `bf16` for matrix products in bfloat16 (weights and sums stay
            float32); `auto` is bf16 on a GPU alone.
        strategy: `auto` (ddp where there are several ranks), `ddp` or `fsdp`.
        num_workers: processes that prepare data; 0 is this one.
        compile: compile the layers.
        activation_checkpointing: compute activations twice, keep none of a layer's.
        checkpoint_minutes, checkpoint_steps: time and steps between checkpoints; 0 steps for
            time alone.
        keep_checkpoints: the last k are kept.
        log_steps: steps between two lines of the log.
        tensorboard: write event files as well.
        peak_tflops: of this device, for the share that is used; 0 for what is known or measured.
        record_questions: of the bundle's record of precisions, which are asked by the CPU engine
            in each of them; 0 for no record.
    """

    device: str = "auto"
    precision: str = "auto"
    strategy: str = "auto"
    num_workers: int = 0
    compile: bool = False
    activation_checkpointing: bool = False
    checkpoint_minutes: float = 3.0
    checkpoint_steps: int = 0
    keep_checkpoints: int = 2
    log_steps: int = 50
    tensorboard: bool = True
    peak_tflops: float = 0.0
    record_questions: int = 2_000

    def __post_init__(self) -> None:
        own = "run"
        for name, allowed in (
            ("precision", ("auto", "fp32", "bf16")),
            ("strategy", ("auto", "ddp", "fsdp")),
        ):
            value = getattr(self, name)
            _need(value in allowed, own, name, value, ", ".join(allowed))
        _count(self, own, "num_workers", "checkpoint_steps", "record_questions", low=0)
        _count(self, own, "keep_checkpoints", "log_steps")
        _within(self, own, "checkpoint_minutes", 0.0, 1e6)
        _within(self, own, "peak_tflops", 0.0, 1e6)


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
        _names("data", self.data)
        _names("evaluate", self.evaluate)
        _count(self, "config", "seed", low=0)
        _need(bool(self.stages), "config", "stages", self.stages, "at least one stage")
        names = [stage.name for stage in self.stages]
        _need(
            len(set(names)) == len(names), "config", "stages", names, "a name of its own for each"
        )
        users = [
            (f"stages.{stage.name}.tasks.{name}", task.data)
            for stage in self.stages
            for name, task in stage.tasks.items()
        ]
        users += [(f"evaluate.{name}", asked.data) for name, asked in self.evaluate.items()]
        for where, data in users:
            _need(data in self.data, where, "data", data, f"one of {', '.join(self.data)}")
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
