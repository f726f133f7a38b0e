"""What greedy writing asks of logits: the next ids and log-probabilities, on the host.

Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tokenfuse_sdk.runtime.protocol import FloatArray, IdArray

__all__ = ["log_probs_of", "top_ids"]


def top_ids(logits_BV: FloatArray) -> IdArray:
    """The id with the largest logit of each row; of equals the lowest.

    As of the native engines' `log_sum_exp`, an id is in the vocabulary even where logits are
    NaN: the log-probability tells of that.
    """
    known_BV = np.where(np.isnan(logits_BV), -np.inf, logits_BV)
    ids_B: IdArray = known_BV.argmax(axis=-1).astype(np.int32)
    return ids_B


def log_probs_of(logits_BV: FloatArray, ids_B: IdArray) -> NDArray[np.float64]:
    """Log-softmax in float64 at one id of each row; NaN where a row holds what is not finite.

    (x - largest) - log(sum(exp(x - largest))): the two parts are small where a probability is
    near one, so nothing of it is lost.
    """
    x_BV = logits_BV.astype(np.float64)
    # An infinity less itself is the NaN that is meant; -inf alone is a probability of 0.
    with np.errstate(invalid="ignore"):
        x_BV -= x_BV.max(axis=-1, keepdims=True)
        rest_B = np.log(np.exp(x_BV).sum(axis=-1))
        log_probs_B: NDArray[np.float64] = x_BV[np.arange(len(ids_B)), ids_B] - rest_B
    return log_probs_B
