"""Learning rates and budgets by values that were computed by hand."""

from __future__ import annotations

import collections

import pytest
from toy_run import stage, toy_config

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.loop.schedule import budget_at, check_budgets, learning_rate_at
from tokenfuse_training.start import begin


def rates(**settings):
    made = stage(learning_rate=0.8, **settings)
    return [learning_rate_at(made, step) for step in range(made.steps)]


def test_cosine_falls_from_the_end_of_the_warm_up():
    # Half, all; then t = 0, 1/4, 2/4, 3/4 of the fall.
    expected = [0.4, 0.8, 0.8, 0.8 * 0.8535533905932737, 0.4, 0.8 * 0.14644660940672627]
    assert rates(steps=6, warmup_steps=2) == pytest.approx(expected, rel=1e-12)


def test_a_share_is_left_at_the_end():
    # 1/4 + 3/4 of the cosine: t = 0 and 1/2.
    found = rates(steps=2, warmup_steps=0, final_rate_share=0.25)
    assert found == pytest.approx([0.8, 0.8 * 0.625], rel=1e-12)


def test_constant_stays():
    found = rates(steps=5, warmup_steps=4, schedule="constant")
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8], rel=1e-12)


def test_a_linear_tail_falls_to_one_step_before_its_end():
    found = rates(steps=8, warmup_steps=1, schedule="linear_tail", tail_share=0.5)
    expected = [0.8] * 5 + [0.6, 0.4, 0.2]
    assert found == pytest.approx(expected, rel=1e-12)
    found = rates(
        steps=4, warmup_steps=0, schedule="linear_tail", tail_share=0.5, final_rate_share=0.5
    )
    assert found == pytest.approx([0.8, 0.8, 0.8, 0.6], rel=1e-12)


def test_a_warm_up_longer_than_the_stage_only_rises():
    assert rates(steps=3, warmup_steps=8) == pytest.approx([0.1, 0.2, 0.3], rel=1e-12)


def test_budgets_come_as_their_weights_say():
    fusion = begin(toy_config()).model_config.fusion
    assert fusion.token_budgets == (2, 4)

    def drawn(weights, seed=0):
        made = stage(budget_weights=weights)
        return [budget_at(made, fusion, seed=seed, step=step) for step in range(2000)]

    counts = collections.Counter(drawn((3.0, 1.0)))
    # Three standard deviations of 2,000 draws: 58.
    assert abs(counts[2] - 1500) < 58
    assert abs(collections.Counter(drawn(()))[2] - 1000) < 67
    assert set(drawn((0.0, 2.0))) == {4}
    assert set(drawn((2.0, 0.0))) == {2}
    assert drawn((3.0, 1.0)) == drawn((3.0, 1.0)) != drawn((3.0, 1.0), seed=1)


@pytest.mark.parametrize("weights", [(1.0,), (0.0, 0.0), (1.0, 1.0, 1.0)])
def test_weights_that_are_not_of_the_budgets_are_refused(weights):
    fusion = begin(toy_config()).model_config.fusion
    with pytest.raises(ConfigError, match=r"stage 'one'.*budgets \[2, 4\]"):
        check_budgets(stage(budget_weights=weights), fusion)
