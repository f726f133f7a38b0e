"""The second control: shares by the size of the data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.samplers.fixed import FixedShares

__all__ = ["Proportional"]


class Proportional(FixedShares):
    """p_k ∝ n_k^power, n_k the pictures of the task's data set; the power is 0.5 at first [D].

    Raises:
        ConfigError: a size is not known.
    """

    def __init__(self, sizes: Sequence[int], *, power: float) -> None:
        for task, size in enumerate(sizes):
            if size < 1:
                raise ConfigError(
                    f"sampler.kind='proportional': task {task} of the stage has {size} known "
                    "pictures, and a stream has no size; set the task's `size`, or another kind"
                )
        # By the largest: no power of a number up to 1 overflows.
        relative_K = np.asarray(sizes, dtype=np.float64) / max(sizes)
        super().__init__("proportional", relative_K**power)
