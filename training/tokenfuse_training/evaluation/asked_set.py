"""A set of questions to put to models: scenes drawn on the spot, or what a config evaluates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tokenfuse_sdk.config import VisionConfig
from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.config.data_settings import ScenesData, Vqa2Data, format_of
from tokenfuse_training.config.settings import nearest
from tokenfuse_training.config.train_config import TrainConfig
from tokenfuse_training.evaluation.ask import AskedPicture
from tokenfuse_training.evaluation.asked import SourceQuestions, drawn_scenes

if TYPE_CHECKING:
    from tokenfuse_training.data.source import Source

__all__ = ["AskedSet", "config_set", "scenes_set"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AskedSet:
    """What is asked, and how it is scored.

    Args:
        task: vqa, gqa, entail or scenes.
        data: format of the data set.
        split: name of the data set, or the split of drawn scenes.
        seed: of drawn scenes; 0 for others.
        num_questions: at most; 0 for all.
        is_labelled: False where it is known from the start that no answers are told.
        pictures: from the model's image encoder (scenes are drawn for it) to what is asked.
    """

    task: str
    data: str
    split: str
    seed: int
    num_questions: int
    is_labelled: bool = True
    pictures: Callable[[VisionConfig], Iterable[AskedPicture]]


def scenes_set(*, split: str, num_questions: int, seed: int | None) -> AskedSet:
    """Scenes that no training has seen, drawn as they are asked."""
    own = ScenesData(split=split).seed if seed is None else seed
    return AskedSet(
        task="scenes",
        data="scenes",
        split=split,
        seed=own,
        num_questions=num_questions,
        pictures=lambda vision: drawn_scenes(
            split=split, num_questions=num_questions, seed=own, image_size=vision.image_size
        ),
    )


def config_set(
    config: TrainConfig,
    name: str | None,
    *,
    num_questions: int | None = None,
    source: Source | None = None,
) -> AskedSet:
    """What an entry of a config's `evaluate` asks.

    Args:
        config: the config.
        name: of the entry; None where there is only one.
        num_questions: in place of the entry's.
        source: the data set, if it is open already.

    Raises:
        ConfigError: there is no such entry.
    """
    names = list(config.evaluate)
    if name is None and len(names) == 1:
        (name,) = names
    if not names:
        raise ConfigError(
            f"the config {config.name} evaluates nothing: add an entry to `evaluate`, as "
            "`--set 'evaluate.val={task: vqa, data: NAME}'`"
        )
    if name is None:
        raise ConfigError(
            f"the config {config.name} evaluates several: pass --dataset {' or '.join(names)}"
        )
    if name not in config.evaluate:
        raise ConfigError(
            f"--dataset={name!r}: {nearest(name, names)}the entries of `evaluate` are "
            f"{', '.join(names)}"
        )
    entry = config.evaluate[name]
    settings = config.data[entry.data]
    count = entry.num_questions if num_questions is None else num_questions

    def pictures(vision: VisionConfig) -> Iterable[AskedPicture]:
        from tokenfuse_training.data.open import open_source

        opened = source
        if opened is None:
            opened = open_source(entry.data, settings, vision=vision)
        return SourceQuestions(
            entry.data,
            opened,
            entry.task,
            num_questions=count,
            max_bad_share=settings.max_bad_share,
        )

    return AskedSet(
        task=entry.task,
        data=format_of(settings),
        split=settings.split if isinstance(settings, ScenesData) else entry.data,
        seed=settings.seed if isinstance(settings, ScenesData) else 0,
        num_questions=count,
        is_labelled=not (isinstance(settings, Vqa2Data) and settings.annotations is None),
        pictures=pictures,
    )
