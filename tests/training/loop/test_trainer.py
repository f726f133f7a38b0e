"""A run begins the same each time, and how it is computed changes nothing that it learns."""

from __future__ import annotations

import pytest
import torch
from toy_run import log_of, stage, toy_config, toy_run, train, weights_of

from tokenfuse_training.loop.throughput import TIMED


def values(line):
    """The numbers that two runs of one config share."""
    return {name: value for name, value in line.items() if name not in (*TIMED, "stage")}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    return train(toy_config(), folder), log_of(folder)


def test_a_run_learns_and_begins_the_same_each_time(plain, tmp_path):
    trainer, log = plain
    assert trainer.step == 6
    again = train(toy_config(), tmp_path)
    assert [values(line) for line in log_of(tmp_path)] == [values(line) for line in log]
    for name, tensor in weights_of(again).items():
        assert torch.equal(tensor, trainer.state.named[name]), name
    longer = toy_config(stage(steps=40, learning_rate=3e-3), run=toy_run(log_steps=10))
    train(longer, tmp_path / "longer")
    lines = log_of(tmp_path / "longer")
    assert lines[-1]["loss"] < 0.6 * lines[0]["loss"]
    assert lines[-1]["right/ask/existence"] > 0.3


def test_micro_batches_change_rounding_alone(plain, tmp_path):
    trainer, log = plain
    split = train(toy_config(stage(accumulate=3)), tmp_path)
    for line, expected in zip(log_of(tmp_path), log, strict=True):
        assert values(line) == pytest.approx(values(expected), rel=1e-5)
    for name, tensor in weights_of(split).items():
        # A key's bias cancels in the softmax: its gradient is rounding, which Adam makes a step.
        if not name.endswith("key.bias"):
            torch.testing.assert_close(tensor, trainer.state.named[name], rtol=1e-3, atol=1e-4)


def test_forgetting_activations_changes_nothing(plain, tmp_path):
    trainer, log = plain
    forgets = train(toy_config(run=toy_run(activation_checkpointing=True)), tmp_path)
    assert [values(line) for line in log_of(tmp_path)] == [values(line) for line in log]
    for name, tensor in weights_of(forgets).items():
        assert torch.equal(tensor, trainer.state.named[name]), name


def test_bfloat16_is_near(plain, tmp_path):
    _, log = plain
    train(toy_config(run=toy_run(precision="bf16")), tmp_path)
    for line, expected in zip(log_of(tmp_path), log, strict=True):
        assert line["loss"] != expected["loss"]
        assert line["loss"] == pytest.approx(expected["loss"], rel=0.02)
        assert line["grad_norm"] == pytest.approx(expected["grad_norm"], rel=0.1)
