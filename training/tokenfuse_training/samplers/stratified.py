"""The first control: every task has the same share."""

from __future__ import annotations

import numpy as np

from tokenfuse_training.samplers.fixed import FixedShares

__all__ = ["Stratified"]


class Stratified(FixedShares):
    """p_k = 1/K."""

    def __init__(self, num_tasks: int) -> None:
        super().__init__("stratified", np.ones(num_tasks))
