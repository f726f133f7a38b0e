"""Plans: fixed ahead, the same whatever the feed has taken, and resumable."""

from __future__ import annotations

import json

import numpy as np
import pytest
from toy_data import Stratified

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.data.plan import Planner, check_batch_size
from tokenfuse_training.errors import CheckpointError

TASKS = ("one", "two")


def planner(ahead=3, batch_size=8, tasks=TASKS):
    return Planner(tasks, Stratified(len(tasks)), batch_size, ahead, first_step=10)


def losses_of(step):
    return {"one": 0.7 * step, "two": 1.0}


def run(planner, steps, *, take):
    """Plans of `steps`, where the feed takes up to `take` before each is observed."""
    taken, plans = [], []
    for _ in range(steps):
        while len(taken) < take and (plan := planner.next_plan()) is not None:
            taken.append(plan)
        plan = taken.pop(0)
        plans.append(plan)
        planner.observe(plan.step, losses_of(plan.step), {})
    return plans


def test_plans_do_not_depend_on_how_far_ahead_the_feed_reads():
    eager, lazy = run(planner(), 12, take=99), run(planner(), 12, take=1)
    assert eager == lazy
    assert [plan.step for plan in lazy] == list(range(10, 22))
    # The sampler did move them.
    assert len({plan.counts for plan in lazy}) > 1


def test_a_plan_is_made_of_what_was_known_so_many_steps_before():
    plans = run(planner(ahead=3), 9, take=99)
    sampler, told = Stratified(2), []
    for step in range(10, 19):
        told.append(0.7 * step)
    first = np.zeros(2, dtype=int)
    for i, plan in enumerate(plans):
        sampler.told = sum(told[: max(0, i - 2)])
        share = sampler.shares()[0] * 8
        assert plan.counts[0] in (int(share), int(share) + 1)
        assert sum(plan.counts) == 8
        assert plan.first == tuple(first)
        first += plan.counts


def test_no_plan_is_given_before_what_it_waits_for_is_observed():
    one = planner(ahead=2)
    assert one.next_plan().step == 10
    assert one.next_plan().step == 11
    assert one.next_plan() is None
    one.observe(10, losses_of(10), {})
    assert one.next_plan().step == 12
    with pytest.raises(AssertionError, match="not the next"):
        one.observe(12, losses_of(12), {})


@pytest.mark.parametrize("take", [1, 3])
def test_a_state_goes_on_as_if_nothing_had_been(take):
    whole = run(planner(), 15, take=1)
    first = planner()
    begun = run(first, 6, take=take)
    resumed = planner()
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert begun + run(resumed, 9, take=2) == whole


@pytest.mark.parametrize("other", [{"ahead": 4}, {"batch_size": 9}, {"tasks": ("one", "three")}])
def test_the_state_of_another_stage_is_refused(other):
    with pytest.raises(CheckpointError, match="the stage has"):
        planner(**other).load_state_dict(planner().state_dict())


def test_fewer_pictures_than_tasks_is_refused():
    with pytest.raises(ConfigError, match=r"stages\.one\.batch_size=1 is less than the 2 tasks"):
        check_batch_size("one", 1, 2)
    check_batch_size("one", 2, 2)
