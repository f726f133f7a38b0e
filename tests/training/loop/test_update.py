"""What an update does: gradients, moments, the moving average, and what stands still."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from toy_run import log_of, stage, toy_config, toy_run, train, trainer_of, weights_of

from tokenfuse_training.config.stage_settings import SamplerSettings
from tokenfuse_training.loop.ema import MovingAverage, decay_at
from tokenfuse_training.loop.ranks import Ranks
from tokenfuse_training.loop.stage_run import open_stage
from tokenfuse_training.loop.update import Updater
from tokenfuse_training.start import begin


def test_the_moving_average_is_its_formula():
    model = torch.nn.Linear(3, 2)
    average = MovingAverage(model)
    expected = {name: p.detach().double().clone() for name, p in model.named_parameters()}
    for step in range(1, 40):
        with torch.no_grad():
            for p in model.parameters():
                p += torch.randn_like(p)
        decay = min(0.6, (1 + step) / (10 + step))
        assert decay_at(0.6, step) == decay
        average.update(decay)
        for name, p in model.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * p.detach().double()
            torch.testing.assert_close(
                average.tensors[name].double(), expected[name], rtol=1e-5, atol=1e-6
            )


def test_a_step_moves_the_average_by_the_young_decay(tmp_path):
    start = weights_of(trainer_of(toy_config(), tmp_path))
    trainer = train(toy_config(), tmp_path, max_minutes=0.0)
    assert trainer.step == 1
    for name, tensor in trainer.state.ema.tensors.items():
        begun, now = start[f"model.{name}"].double(), trainer.state.named[f"model.{name}"].double()
        expected = (2 / 11 * begun + 9 / 11 * now).detach()
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("limit", [0.01, 0.0])
def test_gradients_are_clipped_before_they_are_averaged(tmp_path, limit):
    trainer = train(
        toy_config(stage(max_grad_norm=limit), run=toy_run(log_steps=1)), tmp_path, max_minutes=0.0
    )
    # After one update the first moment is a tenth of the gradient.
    moments = [state["exp_avg"] for state in trainer.state.optimizer.state.values()]
    norm = 10 * math.sqrt(sum(float(m.double().square().sum()) for m in moments))
    (line,) = log_of(tmp_path)
    assert line["grad_norm"] > 0.1
    assert norm == pytest.approx(limit or line["grad_norm"], rel=1e-4)


def test_relative_biases_learn_faster_and_do_not_decay(tmp_path):
    trainer = trainer_of(toy_config(), tmp_path)
    of = {id(p): n for n, p in trainer.state.named.items()}
    groups = {
        (group["rate_scale"], group["weight_decay"]): {of[id(p)] for p in group["params"]}
        for group in trainer.state.optimizer.param_groups
    }
    assert set(groups) == {(1.0, 0.05), (1.0, 0.0), (30.0, 0.0)}
    assert groups[30.0, 0.0] == {
        "model.text.relative_bias.weight",
        "model.decoder.relative_bias.weight",
    }
    assert "model.fusion.image_resampler.latents" in groups[1.0, 0.0]
    assert "model.vision.position" in groups[1.0, 0.0]
    assert "model.vision.patch.weight" in groups[1.0, 0.05]
    assert sum(map(len, groups.values())) == len(trainer.state.named)


def test_frozen_parts_stand_at_their_average(tmp_path):
    config = toy_config(stage(), stage("still", freeze=("image", "text")), stage("all"))
    image = ("model.vision.", "model.image_projection.", "model.fusion.image_resampler.")
    names = (*image, "model.text.", "model.embedding.")
    trainer = trainer_of(config, tmp_path)
    seen = []

    def report(line):
        seen.append((line["step"], weights_of(trainer), copy.deepcopy(trainer.state.ema.tensors)))

    trainer.run(report)
    at = {step: (now, ema) for step, now, ema in seen}
    for name in at[6][0]:
        still = name.startswith(names)
        short = name.removeprefix("model.")
        moved = not torch.equal(at[8][0][name], at[12][0][name])
        if still:
            assert torch.equal(at[12][0][name], at[6][1][short]), name
            assert torch.equal(at[12][1][short], at[6][1][short]), name
        assert moved == (not still and name.startswith("model.")), name
        if name.startswith("model."):
            assert not torch.equal(at[12][0][name], at[18][0][name]), name


@pytest.mark.parametrize("fresh", [True, False])
def test_moments_go_on_only_where_they_are_to(tmp_path, fresh):
    config = toy_config(stage(), stage("two", fresh_optimizer=fresh, betas=(0.8, 0.9)))
    trainer = train(config, tmp_path)
    state = trainer.state.optimizer.state[trainer.state.named["model.vision.patch.weight"]]
    assert state["step"].item() == (6 if fresh else 12)
    assert trainer.state.optimizer.param_groups[0]["betas"] == (0.8, 0.9)


def test_drops_are_of_the_same_batch(tmp_path):
    config = toy_config(stage(sampler=SamplerSettings(kind="learning_progress", ahead=1)))
    trainer = trainer_of(config, tmp_path)
    (settings,) = config.stages
    with open_stage(
        config,
        settings,
        0,
        sources=trainer.sources,
        beginning=begin(config),
        ranks=Ranks(),
        planner_state=None,
    ) as opened:
        assert opened.planner.sampler.needs_drops
        updater = Updater(
            trainer.state, settings, opened.terms, ranks=Ranks(), bf16=False, directory=tmp_path
        )
        plan, batch = next(iter(opened.feed))
        options = {"budget": 4, "drops": True}
        still = updater.update(plan, batch, rate=0.0, **options)
        assert still.drops == {"ask": 0.0, "tell": 0.0}
        first = updater.update(plan, batch, rate=1e-3, **options)
        second = updater.update(plan, batch, rate=1e-3, **options)
    assert first.task_losses == still.task_losses
    for task, drop in first.drops.items():
        assert drop > 0
        assert drop == pytest.approx(first.task_losses[task] - second.task_losses[task], rel=1e-5)
