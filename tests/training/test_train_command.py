"""`tokenfuse train` as a user runs it: the shipped recipe, stopped and resumed, and bad input."""

from __future__ import annotations

import json
import resource

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

import tokenfuse_sdk as tf
from tokenfuse_sdk.errors import BundleExistsError, ConfigError, OutputExistsError
from tokenfuse_sdk.golden import GOLDEN_BOUND, golden_error
from tokenfuse_training.cli.train import train
from tokenfuse_training.config.config_file import read_config
from tokenfuse_training.errors import (
    CheckpointError,
    EvaluationError,
    TooManyBadRecordsError,
)

SMALL = (
    "stages.*.steps=1", "stages.*.batch_size=8", "data.train.num_scenes=40",
    "data.train.num_questions=8", "data.test.num_scenes=25", "evaluate.test.num_questions=210",
    "evaluate.texts.num_questions=24", "run.record_questions=200", "run.log_steps=1",
    "model.decoder.max_tokens=4", "run.tensorboard=false", "run.device=cpu",
)  # fmt: skip


def run(*arguments: object, check: bool = True, sets: tuple[str, ...] = SMALL) -> Result:
    words = [word for value in sets for word in ("--set", value)]
    done = CliRunner().invoke(train, ["scenes-nano", *map(str, arguments), *words])
    if check and done.exception is not None:
        raise done.exception
    return done


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The bundle of a very short run of the shipped recipe, and what the run said."""
    output = tmp_path_factory.mktemp("trained") / "tiny-run"
    return output, run("-o", output)


def test_the_bundle_is_one_that_the_sdk_loads(trained):
    output, done = trained
    assert done.stdout == ""
    with tf.load(output, precision="fp32") as model:
        answer = model.answer(tf.example_images()[0], "is there a star?")
        assert answer.token_budget == 16
        card = model.card
        error = golden_error(tf.bundle.read_bundle(output), model._runtime)
    assert error < GOLDEN_BOUND
    for word in (
        "seed 2305", "existence", "two hop", "caption", "N = 4", "N = 16", "image only:",
        "coloured shapes", "load_digits", "| order | 1 | 8 |",
        "image frozen; word order 0.3; budgets 0.5, 0.2, 0.3",
    ):  # fmt: skip
        assert word in card, word
    record = tf.bundle.read_bundle(output).precisions
    assert (record.data, record.split, record.seed) == ("scenes", "test", 2305)
    assert record.num_questions == 200
    assert json.loads((output / "config.json").read_text())["name"] == "scenes-nano"
    assert isinstance(run("-o", output, check=False).exception, OutputExistsError)
    # What is wrong with the config is told first: another OUTPUT would not mend it.
    wrong = run("-o", output, check=False, sets=(*SMALL, "model.size=huge")).exception
    assert isinstance(wrong, ConfigError) and "model.size='huge'" in str(wrong)


def test_the_work_folder_tells_the_whole_run(trained):
    work = trained[0].with_name("tiny-run.work")
    names = {path.name for path in work.iterdir()}
    assert names == {"checkpoints", "config.yaml", "evaluation.json", "log.jsonl", "scenes"}
    # The config in full is one that reads to the same.
    config = read_config(work / "config.yaml")
    assert config == read_config("scenes-nano", SMALL)
    assert yaml.safe_load((work / "config.yaml").read_text())["run"]["keep_checkpoints"] == 2
    told = json.loads((work / "evaluation.json").read_text())
    assert told["test"]["accuracy"][0]["num_questions"] == 210
    lines = [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))


def test_every_long_step_has_a_bar_that_ends_full(trained):
    said = trained[1].stderr
    for name, count in (
        ("drawing train scenes", 40),
        ("drawing test scenes", 25),
        ("whole", 8),
        ("testing test", 210),
        ("testing texts", 24),
        ("asking in every precision", 200),
    ):
        line = next((line for line in said.splitlines() if line.startswith(name)), None)
        assert line is not None, (name, said)
        done, total = next(
            word for word in line.split() if "/" in word and word[0].isdigit()
        ).split("/")
        assert done == total
        assert int(total) == count


SHORT = (
    *SMALL,
    *(
        f"stages.{name}=null"
        for name in ("patches", "answer", "relate", "stones", "spots", "order")
    ),
    "stages.*.steps=2",
    "evaluate=null",
)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """Two stages that nobody stopped."""
    output = tmp_path_factory.mktemp("short") / "out"
    run("-o", output, sets=SHORT)
    return output


def losses(output) -> list[float]:
    lines = (output.with_name("out.work") / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def weights(output) -> bytes:
    return (output / "model.safetensors").read_bytes()


def test_a_stopped_run_goes_on_to_the_same_weights(short, tmp_path):
    output = tmp_path / "out"
    stopped = run("-o", output, "--max-minutes", 0, sets=SHORT)
    assert "stopped; run again" in stopped.stderr
    assert not output.exists()
    assert len(losses(output)) == 1
    run("-o", output, sets=SHORT)
    assert losses(output) == losses(short)
    assert weights(output) == weights(short)
    # Run again, it is done and writes the same; another config is another run.
    run("-o", output, "--overwrite", sets=SHORT)
    assert weights(output) == weights(short)
    other = (*SHORT, "stages.whole.learning_rate=0.5")
    config = tmp_path / "out.work" / "config.yaml"
    before = config.read_bytes()
    refused = run("-o", output, "--overwrite", check=False, sets=other)
    assert config.read_bytes() == before
    assert isinstance(refused.exception, ConfigError)
    assert "stages.whole.learning_rate (0.001 there, 0.5 here)" in str(refused.exception)
    assert weights(output) == weights(short)
    assert len(losses(output)) == 4


def test_a_full_disk_stops_with_the_last_checkpoint(short, tmp_path):
    output = tmp_path / "out"
    run("-o", output, "--max-minutes", 0, sets=SHORT)
    checkpoints = tmp_path / "out.work" / "checkpoints"
    before = {path.name: path.read_bytes() for path in checkpoints.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may grow beyond: what a full disk says too, by another number.
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(map(len, before.values())) // 2, limits[1]))
    try:
        done = run("-o", output, check=False, sets=SHORT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert isinstance(done.exception, CheckpointError)
    assert {path.name: path.read_bytes() for path in checkpoints.iterdir()} == before
    assert not output.exists()
    # With room again it goes on.
    run("-o", output, sets=SHORT)
    assert losses(output) == losses(short)
    assert weights(output) == weights(short)


def test_a_run_begins_with_a_bundle(trained, tmp_path):
    sets = (*SHORT, "stages.describe=null", f"init.bundle={trained[0]}")
    run("-o", tmp_path / "next", sets=sets)
    card = (tmp_path / "next" / "README.md").read_text()
    assert "all weights: scenes-nano" in card
    # A card is published: where things lay on this machine is nobody's business.
    assert str(trained[0].parent) not in card
    assert "Not measured" in card
    # Its weights, an update later.
    old, new = (tf.bundle.read_bundle(path).weights for path in (trained[0], tmp_path / "next"))
    assert all(np.abs(new[name].astype(float) - old[name]).max() < 0.02 for name in old)
    assert tf.bundle.read_bundle(tmp_path / "next").precisions is None


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (("model.fusion.kind=concat", "evaluate.test.num_questions=200"), "fusion.kind is concat"),
        (("data.test.num_scenes=3", "evaluate.test.num_questions=0"), "questions, too few"),
    ],
)
def test_a_model_without_a_record_is_a_bundle_all_the_same(tmp_path, monkeypatch, sets, words):
    # Of a launcher that was told of no others: one rank trains, and says all there is to say.
    monkeypatch.setenv("RANK", "1")
    output = tmp_path / "out"
    only = ("stages.describe=null", "evaluate.texts=null", "stages.whole.steps=1")
    shorter = tuple(value for value in SHORT if value != "evaluate=null")
    done = run("-o", output, sets=(*shorter, *only, *sets))
    assert "no record of precisions" in done.stderr
    assert words in done.stderr
    # No bar of what is not begun.
    assert "asking in every precision" not in done.stderr
    assert f"wrote {output}" in done.stderr
    assert tf.bundle.read_bundle(output).precisions is None


def test_what_cannot_be_evaluated_costs_no_bundle(tmp_path):
    from published_files import write_gqa

    output = tmp_path / "out"
    names = write_gqa(tmp_path, [(f"n{i}", "is it?", "yes") for i in range(9)])
    for picture in (tmp_path / "images").iterdir():
        picture.unlink()
    files = ", ".join(f"{key}: {value}" for key, value in names.items())
    gone = (
        f"data.gone={{format: gqa, root: {tmp_path}, {files}}}",
        "evaluate={gone: {task: gqa, data: gone}, test: {task: scenes, data: test}}",
        "stages.describe=null",
    )
    done = run("-o", output, sets=(*SHORT, *gone), check=False)
    assert isinstance(done.exception, EvaluationError)
    assert done.exit_code == 1
    for words in ("evaluate.gone: data gone: 8 of 8 records", "--overwrite", str(output)):
        assert words in str(done.exception)
    assert "no record of precisions: evaluate.gone" in done.stderr
    with tf.load(output, precision="fp32") as model:
        card = model.card
    assert "### gone\n\nNot measured: it could not be asked." in card
    assert str(tmp_path) not in card
    told = json.loads((tmp_path / "out.work" / "evaluation.json").read_text())
    assert "8 of 8 records" in told["gone"]["error"]
    assert told["test"]["accuracy"][0]["num_questions"] > 0


def test_mistakes_are_told_before_anything_is_made(tmp_path):
    (tmp_path / "mine").mkdir()
    for arguments, sets, kind, words in (
        (["-o", tmp_path / "mine", "--overwrite"], (), BundleExistsError, "not a bundle"),
        (["-o", tmp_path / "x"], ("stages.whole.stpes=3",), ConfigError, "mean 'steps'"),
        (["-o", tmp_path / "x"], ("tokenizer=nowhere.json",), Exception, "nowhere.json"),
        (["-o", tmp_path / "x"], ("stages.whole.tasks.scenes.options={a: 1}",), ConfigError,
         "stages.whole.tasks.scenes: task scenes has no option a"),
    ):  # fmt: skip
        done = run(*arguments, sets=(*SMALL, *sets), check=False)
        assert isinstance(done.exception, kind)
        assert words in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    done = CliRunner().invoke(train, ["scenes-nan", "-o", str(tmp_path / "x")])
    assert "did you mean 'scenes-nano'" in str(done.exception)


PRETRAIN = """
name: words
tokenizer: {tokenizer}
model: {{size: nano, text: {{vocab_size: 98}}}}
data: {{train: {{format: coco_captions, root: {root}, annotations: c.json, images: .}}}}
stages:
  - {{name: one, steps: 20, batch_size: 8, tasks: {{caption: {{task: caption, data: train}}}}}}
run: {{device: cpu, tensorboard: false}}
"""


def test_an_answer_outside_the_vocabulary_is_counted_and_then_an_error(tmp_path):
    from published_files import write_coco_captions

    rows = [(i, "a red circle." if i % 4 else "a crimson disc.") for i in range(1, 17)]
    names = write_coco_captions(tmp_path, rows, split="train2017")
    config = tmp_path / "words.yaml"
    config.write_text(PRETRAIN.format(root=tmp_path, tokenizer="scenes"))
    sets = [f"data.train.annotations={names['annotations']}", "data.train.images=train2017"]
    words = [word for value in sets for word in ("--set", value)]
    arguments = [str(config), "-o", str(tmp_path / "out"), *words]
    done = CliRunner().invoke(train, arguments)
    assert isinstance(done.exception, TooManyBadRecordsError)
    assert "crimson" in str(done.exception)
    assert "max_bad_share" in str(done.exception)
    assert not (tmp_path / "out").exists()
    done = CliRunner().invoke(train, [*arguments, "--set", "data.train.max_bad_share=0.3"])
    assert done.exception is None
    (line,) = (tmp_path / "out.work" / "log.jsonl").read_text().splitlines()
    # Every epoch of 16 pictures has four.
    assert json.loads(line)["bad/caption"] == 20 * 8 // 4
