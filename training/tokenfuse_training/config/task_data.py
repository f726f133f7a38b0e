"""Which tasks go with which format of data: told before a run begins, not behind its last step."""

from __future__ import annotations

import dataclasses

from tokenfuse_sdk.errors import ConfigError

__all__ = ["check_asked", "check_learned"]

_CAPTIONS = ("caption", "complete", "match", "fill")


@dataclasses.dataclass(frozen=True, slots=True)
class _Tasks:
    """Of a format: what can be learned from it, and what can be asked and scored."""

    learned: tuple[str, ...]
    asked: tuple[str, ...]


_TASKS_OF = {
    "vqa2": _Tasks(learned=("vqa",), asked=("vqa",)),
    # One right answer is a soft target too; the official accuracy of VQA wants ten annotators.
    "gqa": _Tasks(learned=("gqa", "vqa"), asked=("gqa",)),
    "snli_ve": _Tasks(learned=("entail",), asked=("entail",)),
    "coco_captions": _Tasks(learned=_CAPTIONS, asked=()),
    "webdataset": _Tasks(learned=_CAPTIONS, asked=()),
    "scenes": _Tasks(
        learned=(*_CAPTIONS, "vqa", "gqa", "entail", "scenes"),
        asked=("gqa", "entail", "scenes", "describe"),
    ),
}


def check_learned(where: str, task: str, data: str, format_name: str) -> None:
    """Make sure that a stage's task can learn from a data set.

    Args:
        where: the task in the config, for the message.
        task: one of `TASKS`.
        data: name of the data set.
        format_name: of it; one that is not published is not checked.

    Raises:
        ConfigError: its format has not what the task needs; names the formats that have.
    """
    _check(where, task, data, format_name, {k: v.learned for k, v in _TASKS_OF.items()})


def check_asked(where: str, task: str, data: str, format_name: str) -> None:
    """As `check_learned`, of an entry of `evaluate`."""
    _check(where, task, data, format_name, {k: v.asked for k, v in _TASKS_OF.items()})


def _check(
    where: str, task: str, data: str, format_name: str, tasks_of: dict[str, tuple[str, ...]]
) -> None:
    if format_name not in tasks_of or task in tasks_of[format_name]:
        return
    formats = [name for name, tasks in tasks_of.items() if task in tasks]
    raise ConfigError(
        f"{where}: task {task} needs data of the format {', '.join(formats)}, but {data!r} is "
        f"{format_name}, which serves {', '.join(tasks_of[format_name]) or 'no task here'}"
    )
