"""The shipped model's recipe: what its YAML says, and that every stage of it runs."""

from __future__ import annotations

import dataclasses
import json

import pytest
from click.testing import CliRunner

import tokenfuse_sdk as tf
from tokenfuse_sdk.bundle import read_bundle
from tokenfuse_sdk.golden import GOLDEN_BOUND, golden_error
from tokenfuse_sdk.shipped import find_bundle
from tokenfuse_training.cli.train import train
from tokenfuse_training.config.config_file import read_config
from tokenfuse_training.loop.schedule import learning_rate_at
from tokenfuse_training.start import begin

STAGES = ("patches", "describe", "answer", "relate", "stones", "spots", "order", "whole")


def test_the_model_is_the_shipped_one():
    beginning = begin(read_config("scenes-nano"))
    shipped = read_bundle(find_bundle("scenes-nano"))
    assert dataclasses.replace(beginning.model_config, name=shipped.config.name) == shipped.config
    words = shipped.tokenizer.encode("answer: how many red circles are there?", 64)
    assert words.max() < beginning.model_config.text.vocab_size == 98


def test_the_rate_warms_up_where_the_image_side_joins_and_falls_at_the_end():
    config = read_config("scenes-nano")
    assert tuple(stage.name for stage in config.stages) == STAGES
    assert config.num_steps == 15_783
    step = 0
    for stage in config.stages:
        joins = stage.name in ("patches", "spots", "whole")
        first = learning_rate_at(stage, 0)
        assert first == pytest.approx(1e-3 / 200 if joins else 1e-3)
        for own in (200, stage.steps // 2, stage.steps - 1):
            # Of the whole run's steps the last 6.55% fall to zero, in a line.
            left = (config.num_steps - step - own) / (0.0655 * config.num_steps)
            assert learning_rate_at(stage, own) == pytest.approx(1e-3 * min(1.0, left), abs=2e-6)
        step += stage.steps


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The bundle of a run of two steps a stage, and its work folder."""
    output = tmp_path_factory.mktemp("recipe") / "run"
    sets = ["data.train.num_scenes=40", "data.test.num_scenes=4", "run.record_questions=0"]
    sets += ["evaluate.test.num_questions=24", "run.log_steps=1", "run.tensorboard=false"]
    sets += ["run.peak_tflops=1"]
    for name in STAGES:
        sets += [f"stages.{name}.steps=2", f"stages.{name}.batch_size=4"]
    arguments = ["scenes-nano", "-o", str(output)]
    done = CliRunner().invoke(train, arguments + [part for one in sets for part in ("--set", one)])
    if done.exception is not None:
        raise done.exception
    return output, output.with_name("run.work")


def test_every_stage_runs_to_a_bundle_that_the_sdk_loads(trained):
    output, _ = trained
    with tf.load(output, precision="fp32") as model:
        answer = model.answer(tf.example_images()[0], "is there a star?")
        assert answer.token_budget == 16
        error = golden_error(read_bundle(output), model._runtime)
    assert error < GOLDEN_BOUND
    card = (output / "README.md").read_text()
    for word in ("existence", "two_hop", "N = 4", "N = 16"):
        assert word in card or word.replace("_", " ") in card, word


def test_the_log_tells_each_kind_of_text_and_the_labels(trained):
    _, work = trained
    lines = [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == [name for name in STAGES for _ in range(2)]
    seen = {
        name: {key for line in lines if line["stage"] == name for key in line} for name in STAGES
    }
    assert "right/patches" in seen["patches"]
    assert not any(key.startswith("right/scenes") for key in seen["patches"])
    assert any(key.startswith("right/scenes/caption") for key in seen["describe"])
    assert any(key in seen["stones"] for key in ("right/scenes/spot", "right/scenes/place"))
    assert "right/word_order" in seen["order"] and "right/patches" not in seen["order"]


def test_the_blind_recipe_hides_what_it_says():
    hidden = {name: data.hide for name, data in read_config("scenes-blind").data.items()}
    assert hidden == {"train": "picture", "test": "picture"}
