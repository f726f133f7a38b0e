"""docs/training.md shows every key of a config with its default: read from the dataclasses."""

from __future__ import annotations

import dataclasses
import pathlib
import re

import pytest
import yaml

from tokenfuse_training.config.config_file import read_config, recipe_names
from tokenfuse_training.config.data_settings import DATA_FORMATS
from tokenfuse_training.config.run_settings import RunSettings
from tokenfuse_training.config.settings import settings_values
from tokenfuse_training.config.stage_settings import SamplerSettings, StageSettings, TaskSettings
from tokenfuse_training.config.train_config import (
    EvaluateSettings,
    InitSettings,
    ModelSettings,
    TrainConfig,
)

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "training.md"


@pytest.fixture(scope="module")
def text() -> str:
    return PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def block(text) -> str:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", text, flags=re.M | re.S)
    return block


@pytest.fixture(scope="module")
def shown(block, tmp_path_factory):
    """The page's config as `read_config` reads it, and as it stands there."""
    path = tmp_path_factory.mktemp("page") / "page.yaml"
    path.write_text(block)
    read_config(path)
    # As it stands there, with 1e-3 a number.
    return yaml.safe_load(block.replace("1e-3", "0.001"))


def test_every_key_and_its_default(shown):
    (stage,) = shown["stages"]
    found = [
        (TrainConfig, shown),
        (ModelSettings, shown["model"]),
        (InitSettings, shown["init"]),
        (RunSettings, shown["run"]),
        (StageSettings, stage),
        (SamplerSettings, stage["sampler"]),
        (TaskSettings, stage["tasks"]["vqa"]),
        (EvaluateSettings, shown["evaluate"]["val"]),
    ]
    data = {values["format"]: values for values in shown["data"].values()}
    assert list(data) == list(DATA_FORMATS)
    for name, kind in DATA_FORMATS.items():
        del data[name]["format"]
        found.append((kind, data[name]))
    for kind, values in found:
        fields = {field.name: field for field in dataclasses.fields(kind)}
        assert list(values) == [n for n in fields if n in values], f"{kind.__name__}: order"
        assert set(values) == set(fields), kind.__name__
        for name, field in fields.items():
            if field.default is not dataclasses.MISSING:
                want = settings_values(field.default)
                assert values[name] == want, f"{kind.__name__}.{name}"
                assert type(values[name]) is type(want), f"{kind.__name__}.{name}"
            elif field.default_factory is not dataclasses.MISSING and not isinstance(
                values[name], dict
            ):
                assert values[name] == settings_values(field.default_factory())


def test_what_has_no_default_says_so(block):
    for kind in (StageSettings, TaskSettings, EvaluateSettings, *DATA_FORMATS.values()):
        for field in dataclasses.fields(kind):
            lacks = (
                field.default is dataclasses.MISSING
                and field.default_factory is dataclasses.MISSING
            )
            lines = re.findall(rf"^ +(?:- )?{field.name}:.*$", block, flags=re.M)
            assert any("# needed" in line for line in lines) or not lacks, field.name


def test_every_recipe_and_choice_is_told(text):
    for name in recipe_names():
        assert f"| `{name}` |" in text
    assert re.findall(r"`([a-z_]+)` \| the same; then", text) == ["gqa", "snli_ve"]
