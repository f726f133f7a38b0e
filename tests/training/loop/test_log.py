"""The log, its event files, and how much of the device is used."""

from __future__ import annotations

import time

import pytest
import torch
from toy_run import Colors, log_of, stage, toy_config, toy_run, train, trainer_of

from tokenfuse_sdk.flops import count_flops
from tokenfuse_training.data.batch import Batch
from tokenfuse_training.loop import throughput
from tokenfuse_training.loop.log import cut_log
from tokenfuse_training.loop.throughput import StepCost, find_peak
from tokenfuse_training.loop.window import Window
from tokenfuse_training.start import begin


class Stopped(Exception):
    pass


def test_a_window_gives_means_and_shares():
    window = Window()
    window.add({"loss": 1.0, "task_loss/ask": 4.0})
    window.add({"loss": 3.0})
    window.count({"right/ask": 1, "seen/ask": 3, "bad/ask": 2, "right/never": 0})
    window.count({"right/ask": 2, "seen/ask": 1, "bad/ask": 0}, ["ask: one", "ask: two"])
    again = Window()
    again.load_state_dict(window.state_dict())
    expected = {"loss": 2.0, "task_loss/ask": 4.0, "right/ask": 0.75, "bad/ask": 2}
    expected["bad_records"] = "ask: one; ask: three; ask: two"
    for one in (window, again):
        one.count({}, ["ask: three", "ask: four"])
    assert again.values() == window.values() == expected
    assert window.values() == {}


def test_a_line_that_was_not_written_to_its_end_is_cut(tmp_path):
    path = tmp_path / "log.jsonl"
    lines = [f'{{"step": {step}, "loss": 1.5}}\n' for step in (2, 4, 6)]
    for text, step, kept in (
        ("".join(lines), 4, 2),
        ("".join(lines), 6, 3),
        ("".join(lines), 0, 0),
        ("".join(lines)[:-5], 6, 2),
        ("".join(lines)[:-1], 6, 2),
        (lines[0] + "\0\0\0\0", 6, 1),
    ):
        path.write_text(text, encoding="utf-8")
        cut_log(path, step)
        assert path.read_text(encoding="utf-8") == "".join(lines[:kept])


@pytest.mark.parametrize("checkpoint_steps", [2, 0])
def test_event_files_hold_what_the_log_holds_once(tmp_path, checkpoint_steps):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = toy_run(tensorboard=True, log_steps=1, checkpoint_steps=checkpoint_steps)
    config = toy_config(run=run)

    def die_at_5(line):
        if line["step"] == 5:
            raise Stopped

    trainer = trainer_of(config, tmp_path)
    with pytest.raises(Stopped):
        trainer.run(die_at_5)
    assert (tmp_path / "checkpoints").is_dir() == (checkpoint_steps > 0)
    # Files of one second have no order.
    time.sleep(1.1 - time.time() % 1)
    train(config, tmp_path)
    lines = log_of(tmp_path)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    numbers = {name for name, value in lines[-1].items() if not isinstance(value, str)} - {"step"}
    assert set(events.Tags()["scalars"]) == numbers
    for name in numbers:
        told = events.Scalars(name)
        assert [event.step for event in told] == [1, 2, 3, 4, 5, 6]
        expected = [line[name] for line in lines]
        assert [event.value for event in told] == pytest.approx(expected, rel=1e-6)


def batch_of(num_pictures, texts, targets) -> Batch:
    def padded(lengths):
        ids = torch.zeros((len(lengths), max(lengths, default=0)), dtype=torch.int64)
        for row, length in enumerate(lengths):
            ids[row, :length] = 5
        return ids

    return Batch(
        image_u8_BHW3=torch.zeros((num_pictures, 16, 16, 3), dtype=torch.uint8),
        image_index_Q=torch.zeros(len(texts), dtype=torch.int64),
        text_QL=padded(texts),
        target_RA=padded([length for _, length in targets]),
        text_index_R=torch.tensor([text for text, _ in targets], dtype=torch.int64),
        weight_R=torch.ones(len(targets)),
        term_R=torch.zeros(len(targets), dtype=torch.int64),
        terms=("ask",),
        kind_Q=torch.zeros(len(texts), dtype=torch.int64),
        kinds=("ask",),
        keys=("",) * num_pictures,
        task_B=torch.zeros(num_pictures, dtype=torch.int64),
        num_bad={},
    )


@pytest.fixture(scope="module")
def model_config():
    return begin(toy_config()).model_config


def cost(model_config, text, target, budget):
    return count_flops(
        model_config, num_text_tokens=text, num_answer_tokens=target, token_budget=budget
    )


def test_a_step_costs_three_times_what_count_flops_says(model_config):
    # One picture with one text of 7 tokens and a target of 3.
    found = StepCost(model_config, stage()).of(batch_of(1, [7], [(0, 3)]), 4)
    assert found == 3 * cost(model_config, 7, 3, 4).total_flops
    # Three pictures, two texts, the second with two targets: it is encoded and fused once.
    found = StepCost(model_config, stage()).of(batch_of(3, [7, 4], [(0, 3), (1, 2), (1, 5)]), 2)
    one, two, more = (cost(model_config, *n, 2) for n in ((7, 3), (4, 2), (4, 5)))
    decoder = sum(row.flops for row in more.rows if row.name.startswith("decoder."))
    expected = 3 * one.image_flops + one.question_flops + two.question_flops + decoder
    assert found == 3 * expected


def test_what_stands_still_costs_a_forward_pass(model_config):
    report = cost(model_config, 7, 3, 4)
    found = StepCost(model_config, stage(freeze=("image",))).of(batch_of(2, [7], [(0, 3)]), 4)
    assert found == 2 * report.image_flops + 3 * report.question_flops
    found = StepCost(model_config, stage(freeze=("text",))).of(batch_of(1, [7], [(0, 3)]), 4)
    text = next(row.flops for row in report.rows if row.name == "text.layers")
    assert found == 3 * report.total_flops - 2 * text


def test_pictures_without_texts_are_not_merged(model_config):
    report = cost(model_config, 1, 1, 4)
    vision = sum(row.flops for row in report.rows if row.name.startswith("vision."))
    assert StepCost(model_config, stage()).of(batch_of(5, [], []), 4) == 3 * 5 * vision


def test_where_labels_of_patches_are_all_texts_cost_nothing(model_config):
    vision = sum(row.flops for row in cost(model_config, 1, 1, 4).rows if "vision." in row.name)
    step = StepCost(model_config, stage(), reads_texts=False)
    assert step.of(batch_of(2, [7, 4], [(0, 3)]), 4) == 3 * 2 * vision


def test_the_peak_says_where_it_is_from(tmp_path):
    device = torch.device("cpu")
    given = find_peak(toy_run(peak_tflops=2.5), device, bf16=False)
    assert (given.tflops, given.source) == (2.5, "settings")
    measured = find_peak(toy_run(peak_tflops=0.0), device, bf16=False)
    assert measured.source == "measured"
    # A core of any machine does more than 0.1 GFLOP/s, and less than 100 TFLOP/s.
    assert 1e-4 < measured.tflops < 100
    trainer = trainer_of(toy_config(), tmp_path, Colors())
    trainer.run(lambda line: None)
    line = log_of(tmp_path)[-1]
    assert line["flops_share"] == pytest.approx(line["tflops"] / 0.1)
    assert trainer.peak == "0.1 TFLOP/s per device (settings)"


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA GB200", 2500.0),
        ("NVIDIA A40", 149.7),
        # Other devices than those whose names they hold.
        ("NVIDIA RTX A4000", None),
        ("NVIDIA RTX A1000 Laptop GPU", None),
    ],
)
def test_the_peak_of_a_data_sheet(monkeypatch, name, tflops):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    monkeypatch.setattr(throughput, "_measured", lambda device, *, bf16: 1.0)
    found = find_peak(toy_run(peak_tflops=0.0), torch.device("cuda"), bf16=True)
    expected = ("measured", 1.0) if tflops is None else ("data sheet", tflops)
    assert (found.source, found.tflops) == expected
