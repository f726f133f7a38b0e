"""A task that its data cannot serve is told when the config is read, for stages and `evaluate`."""

from __future__ import annotations

import itertools

import pytest

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.config.data_settings import DATA_FORMATS
from tokenfuse_training.config.stage_settings import TASKS, StageSettings, TaskSettings
from tokenfuse_training.config.train_config import EvaluateSettings, TrainConfig

GIVEN = {
    "vqa2": {"questions": "q.json", "images": "i"},
    "gqa": {"questions": "q.json", "images": "i"},
    "snli_ve": {"annotations": "a.jsonl", "images": "i"},
    "coco_captions": {"annotations": "a.json", "images": "i"},
    "webdataset": {"shards": ("a.tar",)},
    "scenes": {},
}
WORDS = {"caption", "complete", "match", "fill"}
LEARNED = {
    "vqa2": {"vqa"},
    "gqa": {"vqa", "gqa"},
    "snli_ve": {"entail"},
    "coco_captions": WORDS,
    "webdataset": WORDS,
    "scenes": {*WORDS, "vqa", "gqa", "entail", "scenes"},
}
# The official accuracy of VQA wants ten annotators, which only VQA has.
ASKED = {
    "vqa2": {"vqa"},
    "gqa": {"gqa"},
    "snli_ve": {"entail"},
    "scenes": {"gqa", "entail", "scenes", "describe"},
}


def config(format_name: str, task: str, asked: str | None = None) -> TrainConfig:
    stage = StageSettings(
        name="one", steps=1, batch_size=1, tasks={"t": TaskSettings(task=task, data="d")}
    )
    return TrainConfig(
        name="c",
        data={"d": DATA_FORMATS[format_name](**GIVEN[format_name])},
        stages=(stage,),
        evaluate={} if asked is None else {"e": EvaluateSettings(task=asked, data="d")},
    )


def test_every_format_says_what_it_serves():
    assert set(GIVEN) == set(DATA_FORMATS)
    for format_name, task in itertools.product(DATA_FORMATS, TASKS):
        if task in LEARNED[format_name]:
            config(format_name, task)
            continue
        with pytest.raises(ConfigError, match=rf"^stages\.one\.tasks\.t: task {task} needs"):
            config(format_name, task)
    for format_name in DATA_FORMATS:
        learned = min(LEARNED[format_name])
        for asked in ("vqa", "gqa", "entail", "scenes", "describe"):
            if asked in ASKED.get(format_name, ()):
                config(format_name, learned, asked)
                continue
            with pytest.raises(ConfigError, match=rf"^evaluate\.e: task {asked} needs"):
                config(format_name, learned, asked)


def test_the_message_says_what_would_do():
    with pytest.raises(ConfigError) as caught:
        config("webdataset", "caption", "vqa")
    assert str(caught.value) == (
        "evaluate.e: task vqa needs data of the format vqa2, but 'd' is webdataset, which serves "
        "no task here"
    )
    with pytest.raises(ConfigError, match="format vqa2, but 'd' is scenes, which serves gqa, en"):
        config("scenes", "vqa", "vqa")
