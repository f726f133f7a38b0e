"""What holds for all five: the controls, one task, states in the middle, numbers that are none."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenfuse_sdk.errors import ConfigError, NotFiniteError
from tokenfuse_training.config.stage_settings import SamplerSettings
from tokenfuse_training.errors import CheckpointError
from tokenfuse_training.samplers.make import make_sampler
from tokenfuse_training.samplers.sampler import SAMPLERS
from tokenfuse_training.samplers.share_out import share_out

SIZES = (100, 400, 900)


def make(kind: str, num_tasks: int = 3, **settings):
    return make_sampler(
        SamplerSettings(kind=kind, warmup_steps=5, update_steps=3, **settings),
        sizes=(SIZES * 3)[:num_tasks],
        reference_losses=(0.1,) * num_tasks,
    )


def told(sampler, step: int) -> None:
    """Losses that fall at three rates; task 1 has no usable record in some steps."""
    draw = np.random.default_rng(step)
    losses = {
        k: float(4 * 0.9 ** (step * (k + 1) / 5) + draw.uniform(0, 0.1))
        for k in range(3)
        if k != 1 or step % 4
    }
    drops = {k: float(0.05 * loss + draw.normal(0, 0.05)) for k, loss in losses.items()}
    sampler.observe(step, losses, drops if sampler.needs_drops else {})


def test_the_controls():
    assert make("stratified").shares().tolist() == [1 / 3] * 3
    np.testing.assert_allclose(make("proportional").shares(), [1 / 6, 2 / 6, 3 / 6], rtol=1e-15)
    even = make("proportional", power=0.0)
    np.testing.assert_allclose(even.shares(), 1 / 3, rtol=1e-15)
    np.testing.assert_allclose(
        make("proportional", power=1.0).shares(), np.array(SIZES) / 1400, rtol=1e-15
    )
    for kind in ("stratified", "proportional"):
        sampler = make(kind)
        before = sampler.shares()
        for step in range(30):
            told(sampler, step)
        assert (sampler.shares() == before).all()
        assert sampler.facts() == {"probability": before.tolist()}
    with pytest.raises(ConfigError, match="task 1 of the stage has 0 known"):
        make_sampler(
            SamplerSettings(kind="proportional"), sizes=(5, 0), reference_losses=(0.0, 0.0)
        )


@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_state_in_the_middle_goes_on_to_the_last_bit(kind):
    straight, again = make(kind), make(kind)
    for stop in (0, 1, 4, 5, 7, 40):
        sampler = make(kind)
        for step in range(stop):
            told(sampler, step)
        state = json.loads(json.dumps(sampler.state_dict(), allow_nan=False))
        resumed = make(kind)
        told(resumed, 99)  # What it knew before is gone.
        resumed.load_state_dict(state)
        for step in range(stop, 60):
            told(sampler, step)
            told(resumed, step)
            assert sampler.shares().tobytes() == resumed.shares().tobytes()
            assert sampler.facts() == resumed.facts()
        assert sampler.state_dict() == resumed.state_dict()
    for step in range(60):
        told(straight, step)
        told(again, step)
    assert straight.shares().tobytes() == again.shares().tobytes() == sampler.shares().tobytes()
    changed = kind not in ("stratified", "proportional")
    assert (straight.shares() != make(kind).shares()).any() == changed


@pytest.mark.parametrize("kind", SAMPLERS)
def test_facts_are_a_number_for_each_task(kind):
    sampler = make(kind)
    for step in range(20):
        facts = json.loads(json.dumps(sampler.facts(), allow_nan=False))
        assert facts["probability"] == sampler.shares().tolist()
        assert all(len(values) == 3 for values in facts.values())
        told(sampler, step)
    named = {"difficulty": {"difficulty", "loss"}, "odm": {"reward"}}
    named["learning_progress"] = {"reward"}
    assert set(facts) == {"probability"} | named.get(kind, set())


@pytest.mark.parametrize("kind", SAMPLERS)
def test_what_shares_gives_is_a_copy(kind):
    sampler = make(kind)
    sampler.shares()[:] = 7.0
    assert abs(sampler.shares().sum() - 1) < 1e-15


@pytest.mark.parametrize("kind", SAMPLERS)
def test_one_task_has_all(kind):
    sampler = make(kind, num_tasks=1)
    for step in range(20):
        losses = {} if step == 3 else {0: 2.0 / (step + 1)}
        sampler.observe(step, losses, losses if sampler.needs_drops else {})
        assert sampler.shares().tolist() == [1.0]


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_is_refused_and_nothing_is_learned(kind, value):
    sampler = make(kind)
    for step in range(7):
        told(sampler, step)
    before = json.dumps(sampler.state_dict())
    bad = {0: 1.0, 2: value}
    with pytest.raises(NotFiniteError, match=rf"step 12: the loss of task 2 is {value}"):
        sampler.observe(12, bad, {})
    if sampler.needs_drops:
        with pytest.raises(NotFiniteError, match="drop of loss of task 2"):
            sampler.observe(12, {0: 1.0, 2: 1.0}, bad)
    assert json.dumps(sampler.state_dict()) == before


@pytest.mark.parametrize("kind", SAMPLERS)
def test_another_state_is_refused_and_nothing_changes(kind):
    sampler = make(kind)
    for step in range(9):
        told(sampler, step)
    good = sampler.state_dict()
    other = make("odm" if kind != "odm" else "difficulty").state_dict()
    bad = [other, {}, {**good, "kind": None}]
    if kind not in ("stratified", "proportional"):
        bad += [make(kind, num_tasks=2).state_dict(), {**good, "seen": -1}]
        bad += [{k: v for k, v in good.items() if k != "seen"}]
        for name, value in good.items():
            if isinstance(value, list):
                bad += [{**good, name: [*value[:-1], junk]} for junk in (math.nan, "1", True)]
                bad += [{**good, name: "123"}]
    if kind == "difficulty":
        bad += [{**good, "losses": losses} for losses in ([], {"count": [1, 1, 1]})]
        bad += [{**good, "losses": {**good["losses"], "count": [1, -1, 1]}}]
    before = json.dumps(good)
    for state in bad:
        with pytest.raises(CheckpointError, match="the checkpoint's sampler"):
            sampler.load_state_dict(state)
        assert json.dumps(sampler.state_dict()) == before


@given(
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=9).filter(lambda x: sum(x) > 1e-6),
    more=st.integers(0, 300),
)
def test_shares_become_counts(shares, more):
    total = len(shares) + more
    shares = np.array(shares) / sum(shares)
    counts = share_out(shares, total)
    assert sum(counts) == total and min(counts) >= 1
    if (shares * total >= 1).all():
        # Nobody had to be raised: the plain largest remainder, off by less than one.
        assert (np.abs(np.array(counts) - shares * total) < 1 + 1e-9).all()
    for i, j in np.ndindex(len(counts), len(counts)):
        assert shares[i] <= shares[j] + 1e-9 or counts[i] >= counts[j]


@pytest.mark.parametrize(
    ("shares", "total", "counts"),
    [
        ((1.0,), 8, (8,)),
        ((0.25, 0.25, 0.25, 0.25), 4, (1, 1, 1, 1)),
        ((1 / 3, 1 / 3, 1 / 3), 8, (3, 3, 2)),
        ((0.5, 0.3, 0.2), 10, (5, 3, 2)),
        # 4.8, 3.6, 3.6: the largest remainder, then the first of two equal ones.
        ((0.4, 0.3, 0.3), 12, (5, 4, 3)),
        ((0.9, 0.05, 0.05), 10, (8, 1, 1)),
        ((1.0, 0.0, 0.0), 3, (1, 1, 1)),
        ((1.0, 0.0, 0.0), 9, (7, 1, 1)),
    ],
)
def test_counts_by_hand(shares, total, counts):
    assert share_out(np.array(shares), total) == counts
