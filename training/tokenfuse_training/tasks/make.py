"""From a task's settings to the task."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.config.stage_settings import TaskSettings
from tokenfuse_training.data.coder import TextCoder
from tokenfuse_training.errors import BadRecordError
from tokenfuse_training.tasks.caption import Caption
from tokenfuse_training.tasks.complete import Complete
from tokenfuse_training.tasks.entail import ENTAIL_WORDS, Entail
from tokenfuse_training.tasks.fill import Fill
from tokenfuse_training.tasks.gqa import Gqa
from tokenfuse_training.tasks.match import Match
from tokenfuse_training.tasks.prefixes import PREFIXES
from tokenfuse_training.tasks.task import Task
from tokenfuse_training.tasks.vqa import Vqa

__all__ = ["make_task"]

# What a task always writes, beside its sign.
_WRITES = {"match": ("yes", "no"), "entail": tuple(ENTAIL_WORDS.values())}
# Those that need nothing but their record.
_PLAIN: dict[str, Callable[[], Task]] = {
    "caption": Caption,
    "vqa": Vqa,
    "gqa": Gqa,
    "entail": Entail,
}
_FILL_OPTIONS = {"share": (0.0, 1.0), "mean_words": (1.0, 100.0)}


def make_task(settings: TaskSettings, coder: TextCoder) -> Task:
    """The task that settings name.

    Raises:
        ConfigError: an option that the task has not, a value that it cannot have, or a
            vocabulary without the task's own words.
    """
    name, options = settings.task, settings.options
    if name == "scenes":
        from tokenfuse_training.tasks.scenes import ScenesTask

        return ScenesTask.from_settings(settings)
    allowed = tuple(_FILL_OPTIONS) if name == "fill" else ()
    unknown = [str(option) for option in options if option not in allowed]
    if unknown:
        raise ConfigError(
            f"task {name} has no option {', '.join(unknown)}; it has {', '.join(allowed) or 'none'}"
        )
    _check_words(name, coder)
    if name == "complete":
        return Complete(coder)
    if name == "match":
        return Match(coder)
    if name == "fill":
        return Fill(coder, **_fill_options(options))
    return _PLAIN[name]()


def _fill_options(options: Mapping[str, Any]) -> dict[str, float]:
    for option, value in options.items():
        low, high = _FILL_OPTIONS[option]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and math.isfinite(value) and low <= value <= high):
            raise ConfigError(
                f"task fill: {option}={value!r}: need a number from {low:g} to {high:g}"
            )
    return {option: float(value) for option, value in options.items()}


def _check_words(name: str, coder: TextCoder) -> None:
    for words in (PREFIXES[name], *_WRITES.get(name, ())):
        try:
            coder.target_ids(words)
        except BadRecordError as error:
            raise ConfigError(
                f"the task {name} needs {words!r}, which the tokenizer does not know ({error}); "
                "use another tokenizer (scenes have `scenes-pretrain`) or leave the task out"
            ) from error
