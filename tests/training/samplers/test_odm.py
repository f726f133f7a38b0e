"""`odm` against a second implementation, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tokenfuse_training.config.stage_settings import SamplerSettings
from tokenfuse_training.samplers.odm import Odm


def epsilon(t: int, num_tasks: int) -> float:
    if t == 0:
        return 1 / num_tasks
    return min(1 / num_tasks, math.sqrt(math.log(num_tasks) / (num_tasks * t)))


def plain(losses: list[dict[int, float]], num_tasks: int, alpha: float, warmup: int) -> list[float]:
    """The published loop: shares of step t, then its losses; the warm-up before it is uniform."""
    uniform = [1 / num_tasks] * num_tasks
    rewards = [0.0] * num_tasks
    for told in losses[:warmup]:
        for k, loss in told.items():
            rewards[k] = alpha * rewards[k] + (1 - alpha) * loss * num_tasks
    if len(losses) < warmup:
        return uniform
    t = 1
    while True:
        now, before = epsilon(t, num_tasks), epsilon(t - 1, num_tasks)
        total = math.fsum(math.exp(before * r) for r in rewards)
        p = [(1 - num_tasks * now) * math.exp(before * r) / total + now for r in rewards]
        if warmup + t > len(losses):
            return p
        for k, loss in losses[warmup + t - 1].items():
            rewards[k] = alpha * rewards[k] + (1 - alpha) * loss / p[k]
        t += 1


@pytest.mark.parametrize("warmup", [0, 1, 25])
@pytest.mark.parametrize("alpha", [0.0, 0.9])
@pytest.mark.parametrize("num_tasks", [2, 5])
def test_a_second_implementation(warmup, alpha, num_tasks):
    draw = np.random.default_rng(6)
    settings = SamplerSettings(kind="odm", warmup_steps=warmup, smoothing=alpha)
    sampler = Odm(settings, num_tasks)
    told: list[dict[int, float]] = []
    for step in range(80):
        np.testing.assert_allclose(
            sampler.shares(), plain(told, num_tasks, alpha, warmup), rtol=1e-12
        )
        losses = {k: float(draw.uniform(0, 1 + k)) for k in range(num_tasks)}
        told.append({k: loss for k, loss in losses.items() if draw.uniform() < 0.9})
        sampler.observe(step, told[-1], {})


def test_by_hand():
    sampler = Odm(SamplerSettings(kind="odm", warmup_steps=0, smoothing=0.5), 2)
    # K = 2: √(ln 2 / 2) = 0.589 > 1/2 at t = 1, so p is uniform; √(ln 2 / 4) = 0.4162773 at 2.
    sampler.observe(0, {0: 1.0, 1: 2.0}, {})
    # R = (1, 2), eps_1 = 0.5: softmax(0.5, 1) = (0.3775407, 0.6224593); 1 - 2 eps_2 = 0.1674454.
    assert sampler.facts()["reward"] == [1.0, 2.0]
    np.testing.assert_allclose(sampler.shares(), [0.4794947, 0.5205053], atol=1e-7)
    sampler.observe(1, {1: 2.0}, {})
    # R_1 = 1 + 1 / 0.5205053 = 2.92121, R_0 stays.
    np.testing.assert_allclose(sampler.facts()["reward"], [1.0, 2.92121], atol=1e-6)


@pytest.mark.parametrize("loss", [0.0, 3.0, 1e300])
def test_equal_losses_stay_uniform(loss):
    sampler = Odm(SamplerSettings(kind="odm", warmup_steps=0), 4)
    for step in range(300):
        sampler.observe(step, dict.fromkeys(range(4), loss), {})
    np.testing.assert_allclose(sampler.shares(), 0.25, rtol=1e-12)


def test_the_harder_task_gets_more_and_none_less_than_epsilon():
    sampler = Odm(SamplerSettings(kind="odm", warmup_steps=0), 4)
    draw = np.random.default_rng(2)
    for step in range(4_000):
        losses = {k: 1.0 + k + float(draw.uniform(-0.5, 0.5)) for k in range(4)}
        sampler.observe(step, losses, {})
        shares = sampler.shares()
        assert abs(shares.sum() - 1) < 1e-12
        assert shares.min() >= epsilon(step + 2, 4) - 1e-15
    assert shares.tolist() == sorted(shares)
