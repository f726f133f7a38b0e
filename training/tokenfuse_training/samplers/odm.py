"""Online data mixing: more of what has the highest loss, by a bandit that explores less and less.

Shapes: K tasks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tokenfuse_training.config.stage_settings import SamplerSettings
from tokenfuse_training.samplers.checks import check_values, read_count, read_numbers, read_state
from tokenfuse_training.samplers.softmax import softmax

__all__ = ["Odm"]

_KIND = "odm"


class Odm:
    """A sampler (see `sampler.py`): Albalak et al. 2023, "Efficient Online Data Mixing".

        R_k ← alpha·R_k + (1-alpha)·L_k/p_k
        eps_t = min(1/K, √(ln K/(K·t)))
        p   = (1 - K·eps_t)·softmax(eps_{t-1}·R) + eps_t

    The reward is the loss in nats per token, as there, and is not scaled. [D] t counts steps after
    the warm-up, t = 1 being the first, and eps_0 = 1/K; in the warm-up p is 1/K, and R is averaged
    already. With no warm-up these are the published formulas, but that there a task is seen only
    when it is drawn; here 1/p_k lifts tasks of small share instead. [D] p_k is the share at the
    time that the loss is told, not the one by which its step was planned, `ahead` steps before.

    Args:
        settings: alpha and the warm-up.
        num_tasks: K.
    """

    needs_drops = False

    def __init__(self, settings: SamplerSettings, num_tasks: int) -> None:
        self._settings = settings
        self._reward_K = np.zeros(num_tasks)
        self._shares_K = np.full(num_tasks, 1.0 / num_tasks)
        self._seen = 0

    def shares(self) -> np.ndarray:
        return self._shares_K.copy()

    def observe(self, step: int, losses: Mapping[int, float], drops: Mapping[int, float]) -> None:
        num_tasks, smoothing = len(self._reward_K), self._settings.smoothing
        check_values("loss", step, losses, num_tasks)
        for task, loss in losses.items():
            reward = loss / self._shares_K[task]
            self._reward_K[task] = smoothing * self._reward_K[task] + (1.0 - smoothing) * reward
        self._seen += 1
        played = self._seen - self._settings.warmup_steps
        if played < 0:
            return
        now, before = _exploration(played + 1, num_tasks), _exploration(played, num_tasks)
        wanted_K = softmax(before * self._reward_K)
        self._shares_K = (1.0 - num_tasks * now) * wanted_K + now

    def facts(self) -> dict[str, list[float]]:
        return {"probability": self._shares_K.tolist(), "reward": self._reward_K.tolist()}

    def state_dict(self) -> dict[str, Any]:
        return {
            "kind": _KIND,
            "seen": self._seen,
            "shares": self._shares_K.tolist(),
            "reward": self._reward_K.tolist(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        read_state(state, kind=_KIND, names=("seen", "shares", "reward"))
        num_tasks = len(self._reward_K)
        # All are read before one is set.
        self._seen, self._shares_K, self._reward_K = (
            read_count(state, "seen"),
            np.array(read_numbers(state, "shares", num_tasks)),
            np.array(read_numbers(state, "reward", num_tasks)),
        )


def _exploration(time: int, num_tasks: int) -> float:
    """eps at t = `time`; 1/K before the first step."""
    if time == 0:
        return 1.0 / num_tasks
    return min(1.0 / num_tasks, math.sqrt(math.log(num_tasks) / (num_tasks * time)))
