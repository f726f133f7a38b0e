"""More of what is being learned: shares by how much an update lowers each task's loss.

Shapes: K tasks.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Any

import numpy as np

from tokenfuse_training.config.stage_settings import SamplerSettings
from tokenfuse_training.samplers.checks import check_values, read_count, read_numbers, read_state
from tokenfuse_training.samplers.softmax import softmax

__all__ = ["LearningProgress"]

_KIND = "learning_progress"
# The scale of a drop is that of all tasks over the last so many steps [D].
_HISTORY_STEPS = 128
_LOW, _HIGH = 0.2, 0.8


class LearningProgress:
    """A sampler (see `sampler.py`): Graves et al. 2017, "Automated Curriculum Learning".

    The reward is their prediction gain: the loss before an update less that after it, on the same
    batch, scaled by the 20% and 80% quantiles of the drops so far:

        r_k = clip(2·(drop_k - low)/(high - low) - 1, -1, 1)

    and the policy is Exp3.S:

        w_k ← log[(1-a_n)·exp(w_k + eta·r_k) + a_n/(K-1)·Σ_{j≠k} exp(w_j + eta·r_j)],  a_n = 1/(n+1)
        p   = (1-gamma)·softmax(w) + gamma/K

    [D] Exp3.S estimates the reward of a task that is drawn with probability p_k as r_k/p_k when it
    is drawn and 0 when it is not, whose mean is r_k. Here every task is in every step, so the
    mean itself is known and stands there. [D] Their quantiles are of a random sample of all drops;
    ours are of all drops of the last 128 steps, so that nothing is drawn and the scale follows
    drops that get smaller. [D] n counts steps after the warm-up; in it p is 1/K, and drops are
    gathered for the scale alone.

    Args:
        settings: gamma (exploration), eta (step_size) and the warm-up.
        num_tasks: K.
    """

    needs_drops = True

    def __init__(self, settings: SamplerSettings, num_tasks: int) -> None:
        self._settings = settings
        self._weight_K = np.zeros(num_tasks)
        self._reward_K = np.zeros(num_tasks)
        self._drops: collections.deque[float] = collections.deque(maxlen=_HISTORY_STEPS * num_tasks)
        self._seen = 0

    def shares(self) -> np.ndarray:
        num_tasks, exploration = len(self._weight_K), self._settings.exploration
        return (1.0 - exploration) * softmax(self._weight_K) + exploration / num_tasks

    def observe(self, step: int, losses: Mapping[int, float], drops: Mapping[int, float]) -> None:
        num_tasks = len(self._weight_K)
        check_values("loss", step, losses, num_tasks)
        check_values("drop of loss", step, drops, num_tasks)
        assert set(drops) == set(losses), f"drops of {sorted(drops)}, losses of {sorted(losses)}"
        self._seen += 1
        # In the tasks' order, whatever order they are told in.
        self._drops.extend(drops[task] for task in sorted(drops))
        self._reward_K = self._scaled(drops)
        played = self._seen - self._settings.warmup_steps
        if played > 0 and num_tasks > 1:
            self._weight_K = _exp3s(
                self._weight_K, self._settings.step_size * self._reward_K, 1.0 / (played + 1)
            )

    def facts(self) -> dict[str, list[float]]:
        return {"probability": self.shares().tolist(), "reward": self._reward_K.tolist()}

    def state_dict(self) -> dict[str, Any]:
        return {
            "kind": _KIND,
            "seen": self._seen,
            "weight": self._weight_K.tolist(),
            "reward": self._reward_K.tolist(),
            "drops": list(self._drops),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        read_state(state, kind=_KIND, names=("seen", "weight", "reward", "drops"))
        num_tasks = len(self._weight_K)
        # All are read before one is set.
        self._seen, self._weight_K, self._reward_K, self._drops = (
            read_count(state, "seen"),
            np.array(read_numbers(state, "weight", num_tasks)),
            np.array(read_numbers(state, "reward", num_tasks)),
            collections.deque(read_numbers(state, "drops"), maxlen=self._drops.maxlen),
        )

    def _scaled(self, drops: Mapping[int, float]) -> np.ndarray:
        """r, float64 (K,); 0 for tasks that are not told, and while all drops are the same."""
        reward_K = np.zeros(len(self._weight_K))
        if not drops:
            return reward_K
        low, high = np.quantile(np.array(self._drops), (_LOW, _HIGH))
        for task, drop in drops.items():
            if high > low:
                reward_K[task] = np.clip(2.0 * (drop - low) / (high - low) - 1.0, -1.0, 1.0)
            else:
                reward_K[task] = np.sign(drop - low)
        return reward_K


def _exp3s(weight_K: np.ndarray, gain_K: np.ndarray, share: float) -> np.ndarray:
    """Every weight with its gain, and `share` of it exchanged for the mean of the others'.

    Up to a constant, which shares do not depend on: the largest weight is 0.
    """
    raised_K = weight_K + gain_K
    power_K = np.exp(raised_K - raised_K.max())
    others_K = (power_K.sum() - power_K) / (len(power_K) - 1)
    moved_K = np.log((1.0 - share) * power_K + share * others_K)
    return moved_K - moved_K.max()
