"""`difficulty` against a second implementation that keeps every loss, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tokenfuse_training.config.stage_settings import SamplerSettings
from tokenfuse_training.samplers.difficulty import Difficulty


def mean_by_age(values: list[float], decay: float) -> float:
    weights = [decay ** (len(values) - 1 - place) for place in range(len(values))]
    return math.fsum(w * v for w, v in zip(weights, values, strict=True)) / math.fsum(weights)


def plain(losses: list[dict[int, float]], num_tasks: int, settings, references) -> list[float]:
    """Shares behind all these steps, from the formulas of the method."""
    p = [1 / num_tasks] * num_tasks
    first: dict[int, float] = {}
    for t in range(1, len(losses) + 1):
        known = {
            k: mean_by_age([seen[k] for seen in losses[:t] if k in seen], settings.loss_decay)
            for k in range(num_tasks)
            if any(k in seen for seen in losses[:t])
        }
        if t >= settings.warmup_steps:
            first = {**known, **first}
        if t <= settings.warmup_steps or (t - settings.warmup_steps) % settings.update_steps:
            continue
        d = []
        for k, reference in enumerate(references):
            if k not in first:
                d.append(1.0)
            elif first[k] <= reference:
                d.append(0.0)
            else:
                rest = (known[k] - reference) / (first[k] - reference)
                d.append(0.0 if rest < 0 else 1.0 if rest > 1 else rest)
        total = math.fsum(math.exp(x / settings.temperature) for x in d)
        for k in range(num_tasks):
            q = math.exp(d[k] / settings.temperature) / total
            p[k] = (p[k] + (1 - settings.floor) * q + settings.floor / num_tasks) / 2
    return p


@pytest.mark.parametrize(
    "settings",
    [
        SamplerSettings(kind="difficulty", warmup_steps=10, update_steps=7),
        SamplerSettings(kind="difficulty", warmup_steps=0, update_steps=1, temperature=0.05),
        SamplerSettings(
            kind="difficulty", warmup_steps=3, update_steps=5, loss_decay=1.0, floor=0.0
        ),
        SamplerSettings(kind="difficulty", warmup_steps=1, update_steps=2, loss_decay=0.0),
    ],
)
@pytest.mark.parametrize("references", [(0.0, 0.0, 0.0), (0.5, 0.0, 2.5)])
def test_a_second_implementation(settings, references):
    draw = np.random.default_rng(5)
    sampler = Difficulty(settings, references)
    told: list[dict[int, float]] = []
    for step in range(60):
        losses = {k: float(draw.uniform(0, 5 - k) / (1 + 0.05 * step)) for k in range(3)}
        # A task now and then has no usable record; the last one has none for long.
        told.append({k: x for k, x in losses.items() if draw.uniform() < (1.0, 0.7, 0.3)[k]})
        sampler.observe(step, told[-1], {})
        expected = plain(told, 3, settings, references)
        np.testing.assert_allclose(sampler.shares(), expected, rtol=1e-12)


def test_by_hand():
    settings = SamplerSettings(
        kind="difficulty", warmup_steps=1, update_steps=1, loss_decay=0.0, temperature=0.5
    )
    sampler = Difficulty(settings, (0.0, 1.0))
    sampler.observe(0, {0: 4.0, 1: 3.0}, {})
    assert sampler.shares().tolist() == [0.5, 0.5]
    assert sampler.difficulties().tolist() == [1.0, 1.0]
    sampler.observe(1, {0: 1.0, 1: 3.0}, {})
    # d = (1/4, 1), q = (e^0.5, e^2) / (e^0.5 + e^2) = (0.1824255, 0.8175745);
    # p = 0.25 + 0.4 q + 0.05.
    assert sampler.difficulties().tolist() == [0.25, 1.0]
    np.testing.assert_allclose(sampler.shares(), [0.3729702, 0.6270298], atol=1e-7)
    # Better than its reference, and worse than at first.
    sampler.observe(2, {0: 9.0, 1: 0.5}, {})
    assert sampler.difficulties().tolist() == [1.0, 0.0]
    assert sampler.facts()["loss"] == [9.0, 0.5]


def test_nothing_is_adapted_until_the_warm_up_and_one_update_are_over():
    settings = SamplerSettings(kind="difficulty", warmup_steps=20, update_steps=10)
    sampler = Difficulty(settings, (0.0, 0.0))
    for step in range(29):
        sampler.observe(step, {0: 5.0 - 0.1 * step, 1: 5.0}, {})
        assert sampler.shares().tolist() == [0.5, 0.5]
    sampler.observe(29, {0: 2.0, 1: 5.0}, {})
    assert sampler.shares()[1] > 0.5


@pytest.mark.parametrize("losses", [(2.0, 2.0, 2.0), (0.0, 0.0, 0.0), (1e-300, 1e300, 1.0)])
def test_equal_losses_and_losses_of_0_stay_uniform(losses):
    settings = SamplerSettings(kind="difficulty", warmup_steps=2, update_steps=1)
    sampler = Difficulty(settings, (0.0, 0.0, 0.0))
    for step in range(20):
        sampler.observe(step, dict(enumerate(losses)), {})
    np.testing.assert_allclose(sampler.shares(), 1 / 3, rtol=1e-14)


def test_a_task_that_is_learned_keeps_its_floor_and_the_hard_one_gets_the_most():
    settings = SamplerSettings(kind="difficulty", warmup_steps=50, update_steps=20)
    sampler = Difficulty(settings, (0.0,) * 4)
    for step in range(5_000):
        # Half-lives of 30, 300 and 3000 steps, and one that is not learned.
        losses = {k: 4 * 0.5 ** (step / life) for k, life in enumerate((30, 300, 3000, math.inf))}
        sampler.observe(step, losses, {})
        shares = sampler.shares()
        assert abs(shares.sum() - 1) < 1e-12 and shares.min() >= 0.2 / 4
        if step > 400:
            assert shares.tolist() == sorted(shares)
    # d = (0, 0, 0.316, 1): q of the last is e^2 / (2 + e^0.63 + e^2).
    assert sampler.shares()[3] == pytest.approx(0.05 + 0.8 * 7.389 / (2 + 1.88 + 7.389), abs=0.01)
