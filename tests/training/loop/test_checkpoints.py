"""Checkpoints: the last k, damage, a full disk, another run."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import stat

import pytest
import torch
from toy_run import Colors, log_of, stage, toy_config, toy_run, train, trainer_of

from tokenfuse_sdk.errors import ConfigError, NotFiniteError
from tokenfuse_training.config.data_settings import DataSettings
from tokenfuse_training.config.train_config import EvaluateSettings
from tokenfuse_training.errors import CheckpointError
from tokenfuse_training.loop.checkpoints import (
    checkpoint_path,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from tokenfuse_training.loop.identity import check_identity, run_identity
from tokenfuse_training.start import begin

CONFIG = toy_config(run=toy_run(checkpoint_steps=2, keep_checkpoints=2))


@pytest.fixture
def folder(tmp_path):
    """Of a run that is done: checkpoints of steps 4 and 6."""
    train(CONFIG, tmp_path)
    return tmp_path


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_the_last_two_are_kept_and_names_are_those_of_parameters(folder):
    assert names(folder) == ["step-00000004.safetensors", "step-00000006.safetensors"]
    path = newest_checkpoint(folder / "checkpoints")
    tensors, facts = read_checkpoint(path)
    trainer = trainer_of(CONFIG, folder)
    for name, parameter in trainer.state.objective.named_parameters():
        assert torch.equal(tensors[f"weights/{name}"], parameter), name
    for name, tensor in trainer.averaged_weights().items():
        assert torch.equal(tensors[f"ema/{name}"], tensor), name
    assert tensors["optimizer/model.vision.patch.weight/step"].item() == 6
    assert not any(name.startswith("optimizer/heads") for name in tensors)
    assert facts["step"] == 6
    # As readable as any file that is written here.
    (folder / "plain").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((folder / "plain").stat().st_mode)


def test_each_stage_ends_with_one(tmp_path):
    config = toy_config(stage("one", steps=3), stage("two", steps=2))
    train(config, tmp_path)
    assert names(tmp_path) == ["step-00000003.safetensors", "step-00000005.safetensors"]
    expected = [line["loss"] for line in log_of(tmp_path)]
    checkpoint_path(tmp_path / "checkpoints", 5).unlink()
    train(config, tmp_path)
    assert [line["loss"] for line in log_of(tmp_path)] == expected


def test_a_run_that_is_done_is_done(folder):
    before = (folder / "log.jsonl").read_bytes()
    trainer = trainer_of(CONFIG, folder)
    assert trainer.run(lambda line: pytest.fail("it trained again"))
    assert (folder / "log.jsonl").read_bytes() == before


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("damage", ["cut", "bit", "header", "facts", "empty"])
def test_a_damaged_one_is_named_with_the_one_before(folder, damage):
    path = newest_checkpoint(folder / "checkpoints")
    if damage == "cut":
        os.truncate(path, path.stat().st_size - 1000)
    elif damage == "bit":
        flip(path, path.stat().st_size - 1000)
    elif damage == "header":
        flip(path, 3)
    elif damage == "facts":
        flip(path, path.read_bytes().index(b"seconds") + 2)
    else:
        path.write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        trainer_of(CONFIG, folder)
    said = str(caught.value)
    assert re.search(r"step-00000006\.safetensors is damaged", said)
    assert "delete it, and the run goes on from step-00000004.safetensors" in said
    # Which is what it then does.
    path.unlink()
    expected = log_of(folder)
    assert train(CONFIG, folder).step == 6
    for line, truth in zip(log_of(folder), expected, strict=True):
        assert line["loss"] == truth["loss"]
    # Where there is no other, that is said.
    flip(path, 3)
    checkpoint_path(folder / "checkpoints", 4).unlink()
    with pytest.raises(CheckpointError, match="none before it"):
        trainer_of(CONFIG, folder)


@contextlib.contextmanager
def file_size(limit):
    """Files can grow to so many bytes, as on a disk that is full."""
    resource = pytest.importorskip("resource", reason="needs POSIX's limits")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_what_was_there_and_nothing_else(tmp_path):
    first = toy_config(stage(steps=40), run=toy_run(checkpoint_steps=2))
    train(first, tmp_path, max_minutes=0.0)
    assert names(tmp_path) == ["step-00000001.safetensors"]
    kept = checkpoint_path(tmp_path / "checkpoints", 1).read_bytes()
    with file_size(len(kept) // 2), pytest.raises(CheckpointError) as caught:
        train(first, tmp_path)
    assert names(tmp_path) == ["step-00000001.safetensors"]
    assert checkpoint_path(tmp_path / "checkpoints", 1).read_bytes() == kept
    for word in ("step-00000002.safetensors cannot be written", "step-00000001.safetensors stays"):
        assert word in str(caught.value)
    # The log, too: half a line of it is not taken for one.
    with file_size(50), pytest.raises(CheckpointError, match=r"the log in .* cannot be written"):
        train(first, tmp_path)
    assert (tmp_path / "log.jsonl").stat().st_size == 50
    assert train(first, tmp_path, max_minutes=0.0).step == 2
    assert [line["step"] for line in log_of(tmp_path)] == [2]


def test_weights_that_are_not_finite_are_not_kept(folder):
    trainer = trainer_of(CONFIG, folder)
    with torch.no_grad():
        trainer.state.named["model.text_projection.weight"][0, 0] = float("inf")
    with pytest.raises(NotFiniteError, match=r"model\.text_projection\.weight is not finite"):
        trainer.state.save(folder / "checkpoints", 8, {}, 2)
    assert len(names(folder)) == 2
    assert newest_checkpoint(folder / "checkpoints").name == "step-00000006.safetensors"


def with_tasks(**changes):
    task = dataclasses.replace(CONFIG.stages[0].tasks["ask"], **changes)
    return toy_config(stage(tasks=CONFIG.stages[0].tasks | {"ask": task}), run=CONFIG.run)


@pytest.mark.parametrize(
    ("changed", "source", "said"),
    [
        (toy_config(seed=4, run=CONFIG.run), None, ["seed (3 there, 4 here)"]),
        (
            toy_config(stage(steps=8, learning_rate=2e-3), run=CONFIG.run),
            None,
            [
                "stages.one.steps (6 there, 8 here)",
                "stages.one.learning_rate (0.001 there, 0.002 here)",
            ],
        ),
        (
            with_tasks(texts=3, reference_loss=0.5),
            None,
            ["stages.one.tasks.ask.texts (2 there, 3 here)", "reference_loss (0.0 there, 0.5"],
        ),
        (
            toy_config(stage("two"), run=CONFIG.run),
            None,
            [
                "stages.two (nothing there, something here)",
                "stages.one (something there, nothing here)",
                'order_of_stages (["one"] there, ["two"] here)',
            ],
        ),
        (
            CONFIG,
            Colors(fingerprint="colors-2"),
            ["fingerprint.colors (colors-1 there, colors-2 here)"],
        ),
        (
            dataclasses.replace(
                CONFIG,
                model=dataclasses.replace(
                    CONFIG.model, decoder=CONFIG.model.decoder | {"mlp_dim": 32}
                ),
            ),
            None,
            ["model.decoder.mlp_dim (24 there, 32 here)", "beginning ("],
        ),
    ],
    ids=["seed", "stage", "task", "stages", "data", "model"],
)
def test_another_run_is_refused_setting_by_setting(folder, changed, source, said):
    before = names(folder)
    with pytest.raises(ConfigError) as caught:
        trainer_of(changed, folder, source)
    for words in [*said, "step-00000006.safetensors is of another run", "--work"]:
        assert words in str(caught.value), str(caught.value)
    assert str(caught.value).count(" there, ") == len(said)
    assert names(folder) == before


def test_another_tokenizer_is_called_so():
    text = CONFIG.model.text | {"vocab_size": 300}
    model = dataclasses.replace(CONFIG.model, text=text)
    one, other = (
        run_identity(config, begin(config), {})
        for config in (
            dataclasses.replace(CONFIG, model=model, tokenizer=name)
            for name in ("scenes", "scenes-pretrain")
        )
    )
    with pytest.raises(ConfigError) as caught:
        check_identity(one, other, "it")
    assert str(caught.value).startswith("it is of another run: tokenizer (")
    assert str(caught.value).count(" there, ") == 1


def test_how_and_where_it_runs_may_change(folder):
    changed = dataclasses.replace(
        CONFIG,
        run=toy_run(keep_checkpoints=1, log_steps=5, activation_checkpointing=True),
        data={
            "colors": DataSettings(root="/elsewhere", max_bad_share=0.3),
            "unused": DataSettings(),
        },
        stages=tuple(dataclasses.replace(one, accumulate=3) for one in CONFIG.stages),
        evaluate={"later": EvaluateSettings(task="vqa", data="unused")},
    )
    assert trainer_of(changed, folder).step == 6


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    folder = tmp_path / "checkpoints"
    write_checkpoint(folder, step=1, tensors={"x": torch.zeros(2)}, facts={"seconds": 0.0}, keep=1)
    with pytest.raises(ConfigError, match="does not say which run"):
        trainer_of(CONFIG, tmp_path)
    identity = trainer_of(CONFIG, tmp_path / "other")._identity
    facts = {"run": identity, "seconds": 0.0, "planner": None}
    facts["window"] = {"sums": {}, "counts": {}, "said": []}
    write_checkpoint(folder, step=1, tensors={"x": torch.zeros(2)}, facts=facts, keep=1)
    with pytest.raises(CheckpointError, match="tensors of another model"):
        trainer_of(CONFIG, tmp_path)
