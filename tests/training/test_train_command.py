"""`tokenfuse train` as a user runs it: a bundle from nothing, and another from that one."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

import tokenfuse_sdk as tf
from tokenfuse_sdk.errors import ConfigError
from tokenfuse_sdk.golden import GOLDEN_BOUND, golden_error
from tokenfuse_training.cli.train import train
from tokenfuse_training.recipes.scenes_nano import SCENES_NANO

SMALL = ("--steps-scale", "0.001", "--num-scenes", "200", "--num-test-questions", "24")


def run(*arguments: object, check: bool = True) -> Result:
    done = CliRunner().invoke(train, ["scenes-nano", *map(str, arguments)])
    if check and done.exception is not None:
        raise done.exception
    return done


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The bundle of a very short run, and what the run said."""
    output = tmp_path_factory.mktemp("trained") / "tiny-run"
    return output, run("-o", output, *SMALL, "--blind")


def test_the_bundle_is_one_that_the_sdk_loads(trained):
    output, _ = trained
    with tf.load(output, precision="fp32") as model:
        answer = model.answer(tf.example_images()[0], "is there a star?")
        assert answer.token_budget == 16
        card = model.card
        error = golden_error(tf.bundle.read_bundle(output), model._runtime)
    assert error < GOLDEN_BOUND
    for word in (
        "seed",
        "existence",
        "two hop",
        "caption",
        "N = 4",
        "N = 16",
        "image only: the same",
    ):
        assert word in card, word
    assert "earlier run" not in card
    record = tf.bundle.read_bundle(output).precisions
    assert record is not None
    assert record.num_questions == 200
    assert json.loads((output / "config.json").read_text())["name"] == "scenes-nano"
    again = run("-o", output, *SMALL, check=False)
    assert "exists" in str(again.exception)


def test_every_long_step_has_a_bar_that_ends_full(trained):
    said = trained[1].output
    for name, count in (
        ("drawing train scenes", 200),
        ("training", None),
        ("question only", None),
        ("testing question only", 24),
        ("image only", None),
        ("testing N = 4", 24),
        ("testing N = 16", 24),
        ("testing long texts", None),
    ):
        line = next((line for line in said.splitlines() if line.startswith(name)), None)
        assert line is not None, (name, said)
        done, total = next(word for word in line.split() if "/" in word).split("/")
        assert done == total
        assert count is None or int(total) == count


def test_a_run_begins_with_a_bundle_and_goes_on_by_the_same_command_alone(trained, tmp_path):
    stage = SCENES_NANO.stages[-1].name
    place = ("-o", tmp_path / "next", "--work", tmp_path / "work", *SMALL)
    start = ("--start-from", trained[0], "--start-stage", stage)
    run(*place, *start)
    card = (tmp_path / "next" / "README.md").read_text()
    assert f"The stages before `{stage}`" in card
    # The same command finds its run done and writes the same model.
    first = (tmp_path / "next" / "model.safetensors").read_bytes()
    run(*place, *start, "--overwrite")
    assert (tmp_path / "next" / "model.safetensors").read_bytes() == first
    # Without its beginning, it is another run.
    refused = run(*place, "--overwrite", check=False)
    assert isinstance(refused.exception, ConfigError)
    assert "start_weights" in str(refused.exception)
    assert "--start-from" in str(refused.exception)
    assert (tmp_path / "next" / "model.safetensors").read_bytes() == first


def test_a_beginning_is_told_in_full_or_not_at_all(tmp_path):
    for half in (("--start-from", "x"), ("--start-stage", SCENES_NANO.stages[0].name)):
        done = run("-o", tmp_path / "x", *half, check=False)
        assert "go together" in str(done.exception)
    done = run("-o", tmp_path / "x", "--start-from", "x", "--start-stage", "none", check=False)
    assert "choose one of" in str(done.exception)


def test_fewer_scenes_than_a_step_takes_are_refused_before_they_are_drawn(tmp_path):
    most = max(stage.images for stage in SCENES_NANO.stages)
    done = run("-o", tmp_path / "x", "--num-scenes", most - 1, check=False)
    assert isinstance(done.exception, ConfigError)
    assert f"--num-scenes={most - 1}" in str(done.exception)
    assert f"pass at least {most}" in str(done.exception)
    assert not any(tmp_path.iterdir())


def test_an_unknown_recipe_is_named(tmp_path):
    done = CliRunner().invoke(train, ["none", "-o", str(tmp_path / "x")])
    assert "choose one of scenes-nano" in str(done.exception)
