"""`learning_progress` against a second implementation that keeps every drop, and by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tokenfuse_training.config.stage_settings import SamplerSettings
from tokenfuse_training.samplers.learning_progress import LearningProgress


def quantile(values: list[float], share: float) -> float:
    """Linear between the ordered values."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def plain(drops: list[dict[int, float]], num_tasks: int, settings) -> list[float]:
    weights = [0.0] * num_tasks
    for n in range(1, len(drops) + 1 - settings.warmup_steps):
        t = n + settings.warmup_steps
        past = [told[k] for told in drops[:t] for k in sorted(told)][-128 * num_tasks :]
        low, high = quantile(past, 0.2), quantile(past, 0.8)
        rewards = [0.0] * num_tasks
        for k, drop in drops[t - 1].items():
            if high > low:
                rewards[k] = min(max(2 * (drop - low) / (high - low) - 1, -1.0), 1.0)
        raised = [
            math.exp(w + settings.step_size * r) for w, r in zip(weights, rewards, strict=True)
        ]
        share = 1 / (n + 1)
        weights = [
            math.log(
                (1 - share) * raised[k]
                + share * math.fsum(raised[j] for j in range(num_tasks) if j != k) / (num_tasks - 1)
            )
            for k in range(num_tasks)
        ]
    total = math.fsum(math.exp(w) for w in weights)
    gamma = settings.exploration
    return [(1 - gamma) * math.exp(w) / total + gamma / num_tasks for w in weights]


def told(sampler: LearningProgress, step: int, drops: dict[int, float]) -> None:
    sampler.observe(step, dict.fromkeys(drops, 1.0), drops)


@pytest.mark.parametrize("warmup", [0, 12])
@pytest.mark.parametrize("step_size", [0.1, 3.0])
@pytest.mark.parametrize("num_tasks", [2, 4])
def test_a_second_implementation(warmup, step_size, num_tasks):
    settings = SamplerSettings(
        kind="learning_progress", warmup_steps=warmup, step_size=step_size, exploration=0.2
    )
    draw = np.random.default_rng(9)
    sampler = LearningProgress(settings, num_tasks)
    seen: list[dict[int, float]] = []
    # Longer than the drops that are kept.
    for step in range(160):
        drops = {k: float(draw.normal(0.1 * k, 1 + k)) for k in range(num_tasks)}
        seen.append({k: drop for k, drop in drops.items() if draw.uniform() < 0.8})
        told(sampler, step, seen[-1])
        if step < 20 or step > 150:
            np.testing.assert_allclose(
                sampler.shares(), plain(seen, num_tasks, settings), rtol=1e-10
            )


def test_the_drops_that_are_kept_are_as_many_after_a_checkpoint():
    settings = SamplerSettings(kind="learning_progress", warmup_steps=0)
    draw = np.random.default_rng(8)
    drops = [dict(enumerate(draw.normal(size=2).tolist())) for _ in range(300)]
    straight, resumed = LearningProgress(settings, 2), LearningProgress(settings, 2)
    for step in range(140):
        told(straight, step, drops[step])
    resumed.load_state_dict(json.loads(json.dumps(straight.state_dict())))
    for step in range(140, 300):
        told(straight, step, drops[step])
        told(resumed, step, drops[step])
        assert straight.facts() == resumed.facts()


def test_by_hand():
    settings = SamplerSettings(
        kind="learning_progress", warmup_steps=1, step_size=math.log(2), exploration=0.0
    )
    sampler = LearningProgress(settings, 2)
    told(sampler, 0, {0: 0.0, 1: 1.0})
    assert sampler.shares().tolist() == [0.5, 0.5]
    # Drops (0, 1): quantiles 0.2 and 0.8; both are beyond them.
    assert sampler.facts()["reward"] == [-1.0, 1.0]
    told(sampler, 1, {0: 0.0, 1: 1.0})
    # n = 1 gives half of each to the other of two: both are the mean. All that was learned is gone.
    np.testing.assert_allclose(sampler.shares(), [0.5, 0.5], rtol=1e-12)
    told(sampler, 2, {0: 0.0, 1: 1.0})
    # exp w = (1/2, 2), a third exchanged: (1/3 + 2/3, 4/3 + 1/6) = (1, 3/2).
    np.testing.assert_allclose(sampler.shares(), [0.4, 0.6], rtol=1e-12)


@pytest.mark.parametrize("drop", [0.0, -2.0, 1e300])
def test_equal_drops_stay_uniform(drop):
    sampler = LearningProgress(SamplerSettings(kind="learning_progress", warmup_steps=0), 3)
    for step in range(200):
        told(sampler, step, dict.fromkeys(range(3), drop))
    np.testing.assert_allclose(sampler.shares(), 1 / 3, rtol=1e-12)


def test_it_follows_what_is_being_learned_and_keeps_exploring():
    settings = SamplerSettings(kind="learning_progress", warmup_steps=50)
    sampler = LearningProgress(settings, 4)
    draw = np.random.default_rng(1)
    before, moved = sampler.shares(), 0.0
    for step in range(2_000):
        # Task 0 is learned first, then task 2; the others never.
        moving = 0 if step < 1_000 else 2
        drops = {k: (0.02 if k == moving else 0.0) + float(draw.normal(0, 0.01)) for k in range(4)}
        told(sampler, step, drops)
        shares = sampler.shares()
        assert abs(shares.sum() - 1) < 1e-12 and shares.min() >= 0.1 / 4
        moved += float(np.abs(shares - before).mean())
        before = shares
        if step in (999, 1_999):
            assert shares[moving] > 0.8
    # Rewards are noisy, shares are not: with r/p in place of r they move ten times as much.
    assert moved / 2_000 < 0.01


def test_a_step_size_beyond_all_reason_stays_finite():
    settings = SamplerSettings(kind="learning_progress", warmup_steps=0, step_size=1e3)
    sampler = LearningProgress(settings, 3)
    for step in range(50):
        told(sampler, step, {0: float(step % 3), 1: 1.0, 2: -5.0})
        assert np.isfinite(sampler.shares()).all() and abs(sampler.shares().sum() - 1) < 1e-12
