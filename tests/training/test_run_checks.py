"""What a run tells before its first step, at an interrupt, and of what it left out."""

from __future__ import annotations

import json
import pathlib
import signal

import pytest
import yaml
from click.testing import CliRunner, Result
from loop.toy_run import Colors, stage, toy_config, toy_run, trainer_of
from published_files import ten, write_coco_captions, write_vqa2

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_sdk.sizes import named_config
from tokenfuse_training.cli.train import train
from tokenfuse_training.config.data_settings import ScenesData
from tokenfuse_training.errors import DataError
from tokenfuse_training.publishing.left_out import left_out
from tokenfuse_training.run import run_trainer
from tokenfuse_training.sources import open_sources

COUNT = 20


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> tuple[pathlib.Path, dict, dict]:
    """COCO captions and VQA v2.0; a quarter of the pictures of captions is missing."""
    root = tmp_path_factory.mktemp("published")
    ids = range(1, COUNT + 1)
    captions = write_coco_captions(root, [(i, "a red circle.") for i in ids], split="train2017")
    for path in sorted((root / captions["images"]).iterdir())[::4]:
        path.unlink()
    questions = write_vqa2(root, [(i, "is there a circle?", ten("yes")) for i in ids])
    return root, captions, questions


def write_config(folder: pathlib.Path, data, **changes) -> pathlib.Path:
    """Captions, then questions."""
    root, captions, questions = data
    tell = {"caption": {"task": "caption", "data": "captions"}}
    ask = {"vqa": {"task": "vqa", "data": "vqa"}}
    plan = {"steps": 5, "batch_size": 4}
    config = {
        "name": "checks",
        "tokenizer": "scenes",
        "model": {"size": "nano", "text": {"vocab_size": 98}},
        "data": {
            "captions": {"format": "coco_captions", "root": str(root), "max_bad_share": 0.9}
            | captions,
            "vqa": {"format": "vqa2", "root": str(root)} | questions,
        },
        "stages": [
            {"name": "a", "tasks": tell, **plan},
            {"name": "b", "tasks": ask, **plan},
        ],
        "run": {"device": "cpu", "tensorboard": False, "peak_tflops": 0.1},
    }
    path = folder / "checks.yaml"
    path.write_text(yaml.safe_dump(config | changes))
    return path


def run(config: pathlib.Path, *sets: str, overwrite: bool = False) -> Result:
    words = [word for value in sets for word in ("--set", value)]
    words += ["--overwrite"] if overwrite else []
    return CliRunner().invoke(train, [str(config), "-o", str(config.parent / "out"), *words])


TWO = "stages.b.tasks.again={task: vqa, data: vqa}"


@pytest.mark.parametrize(
    ("sets", "kind", "said"),
    [
        ((TWO, "stages.b.batch_size=1"), ConfigError, "stages.b.batch_size=1 is less than the 2"),
        (("data.vqa.annotations=null",), DataError, "can be asked, not learned"),
        (("data.vqa.images=train2017",), DataError, "one of the 20 records of data vqa"),
        (("data.vqa.limit=5", "data.vqa.images=train2017"), DataError, "one of the 5 records"),
    ],
    ids=["batch size", "no answers", "no pictures", "few pictures"],
)
def test_what_the_last_stage_cannot_do_is_told_before_the_first(tmp_path, data, sets, kind, said):
    done = run(write_config(tmp_path, data), *sets)
    assert isinstance(done.exception, kind)
    assert said in str(done.exception)
    assert "stages.b." in str(done.exception)
    # Nothing was made.
    assert [path.name for path in tmp_path.iterdir()] == ["checks.yaml"]


@pytest.mark.parametrize("quiet", [False, True])
def test_bad_families_name_their_data_set(tmp_path, quiet):
    settings = ScenesData(root=str(tmp_path), num_scenes=1, families=("colour",))
    config = toy_config(data={"colors": settings})
    with pytest.raises(ConfigError, match=r"^data\.colors: families=colour: need some of"):
        open_sources(config, ["colors"], vision=named_config("nano").vision, quiet=quiet)


def test_what_was_left_out_is_said_and_in_the_card(tmp_path, data):
    done = run(write_config(tmp_path, data))
    assert done.exception is None, done.exception
    # 5 steps of 4 pictures are one epoch of 20, of which 5 are missing.
    said = "stage a: 5 of 20 pictures (caption 5)"
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("left out of"))
    assert line.startswith(f"left out of {said}; the first: caption: ")
    assert ".jpg" in line
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"- {said}.\n" in card
    assert "stage b" not in card
    assert str(data[0]) not in card
    lines = (tmp_path / "out.work" / "log.jsonl").read_text().splitlines()
    assert sum(json.loads(line).get("bad/caption", 0) for line in lines) == 5


def test_a_log_that_cannot_be_drawn_loses_no_model(tmp_path, data):
    """Two tasks have a plot of their shares; the log goes behind the training."""
    tell = {"one": {"task": "caption", "data": "captions"}}
    tell["two"] = {"task": "complete", "data": "captions"}
    stages = [{"name": "a", "tasks": tell, "steps": 2, "batch_size": 4}]
    config = write_config(tmp_path, data, stages=stages)
    done = run(config)
    assert done.exception is None, done.exception
    assert (tmp_path / "out.work" / "sampling.png").stat().st_size > 1000
    (tmp_path / "out.work" / "log.jsonl").unlink()
    again = run(config, overwrite=True)
    assert again.exception is None, again.exception
    assert "no sampling.png: " in again.stderr
    assert (tmp_path / "out" / "config.json").exists()


def test_what_was_left_out_is_summed_by_stage_and_safe_to_show(tmp_path):
    config = toy_config(stage("one"), stage("two"))
    log = tmp_path / "log.jsonl"
    assert left_out(log, config) == []
    lines = [
        {"step": 2, "stage": "one", "bad/ask": 0, "unused/tell": 0},
        {"step": 4, "stage": "one", "bad/ask": 2, "unused/tell": 3, "bad_records": "a\x1b[2Jb"},
        {"step": 6, "stage": "one", "bad/ask": 1, "bad_records": "later"},
        {"step": 12, "stage": "two", "bad/ask": 0},
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (one,) = left_out(log, config)
    assert str(one) == "stage one: 3 of 30 pictures (ask 3), and 3 texts or answers of others"
    assert one.said == "a?[2Jb"


class Interrupted(Colors):
    """Ctrl-C comes while a certain record is read."""

    left = 0

    def record(self, index):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)
        return super().record(index)


@pytest.mark.parametrize(
    ("reads", "said"),
    [(3, "run again to begin anew"), (18, "run again to go on from step 2")],
)
def test_an_interrupt_says_where_the_run_goes_on(tmp_path, capsys, reads, said):
    config = toy_config(stage(batch_size=5), run=toy_run(checkpoint_steps=2))
    source = Interrupted()
    trainer = trainer_of(config, tmp_path, source)
    source.left = reads
    with pytest.raises(KeyboardInterrupt):
        run_trainer(trainer)
    assert said in capsys.readouterr().err
    assert run_trainer(trainer_of(config, tmp_path))
