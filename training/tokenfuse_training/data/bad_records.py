"""Counts what cannot be used, up to a stated share of what was seen."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tokenfuse_training.data.batch import Batch
from tokenfuse_training.errors import TooManyBadRecordsError

__all__ = ["BadRecords"]

# A share of fewer records says little ...
_MIN_SEEN = 100
# ... unless all of so many in one batch are bad: a wrong folder shows in the first step. [D] That
# is only said where chance would do it to at most one batch in a thousand million: share ** n.
_SURE = 8
_NEVER = 1e-9
# [D] What chance may add, in standard deviations: of a data set with 0.8% bad records, the first
# hundred hold two or more in one run of five.
_DEVIATIONS = 4.0
_MAX_MESSAGES = 5


class BadRecords:
    """Of each data set of a stage, what one rank has seen.

    Args:
        data: task to data set.
        max_shares: data set to the share that may be bad; 0.01 where it is not named.
    """

    def __init__(self, data: Mapping[str, str], max_shares: Mapping[str, float]) -> None:
        self._data = dict(data)
        self._max_shares = {name: max_shares.get(name, 0.01) for name in self._data.values()}
        self._seen = dict.fromkeys(self._max_shares, 0)
        self._bad = dict.fromkeys(self._max_shares, 0)
        self._said: dict[str, list[str]] = {name: [] for name in self._max_shares}

    def add(self, batch: Batch, seen: Mapping[str, int]) -> None:
        """Count a batch.

        Args:
            batch: says what was bad.
            seen: task to the number of its records that the batch was made of.

        Raises:
            TooManyBadRecordsError: more than the share of at least 100 records and than chance
                would add to it, or all of so many of one batch that chance is ruled out.
        """
        for name in self._max_shares:
            tasks = [task for task, data in self._data.items() if data == name]
            num_seen = sum(seen[task] for task in tasks)
            num_bad = sum(batch.num_bad[task] for task in tasks)
            self._seen[name] += num_seen
            self._bad[name] += num_bad
            starts = tuple(f"{task}: " for task in tasks)
            self._said[name] += [line for line in batch.bad if line.startswith(starts)]
            del self._said[name][_MAX_MESSAGES:]
            share = self._max_shares[name]
            none_left = num_bad == num_seen >= _SURE and share**num_seen <= _NEVER
            expected = share * self._seen[name]
            limit = expected + _DEVIATIONS * math.sqrt(expected)
            if none_left or (self._seen[name] >= _MIN_SEEN and self._bad[name] > limit):
                raise TooManyBadRecordsError(
                    f"data {name}: {self._bad[name]} of {self._seen[name]} records cannot be "
                    f"used; at most {share:.2%} may be (max_bad_share). The "
                    "first ones:\n  " + "\n  ".join(self._said[name]) + "\nMend the data set, or "
                    "raise its max_bad_share"
                )
