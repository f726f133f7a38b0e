"""Counts what cannot be used, up to a stated share of what was seen: one rule for all readers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from tokenfuse_training.data.batch import Batch
from tokenfuse_training.errors import TooManyBadRecordsError

__all__ = ["BadRecords", "BadShare"]

# A share of fewer records says little ...
_MIN_SEEN = 100
# ... unless all of so many are bad: a wrong folder shows in the first step. [D] That is only said
# where chance would do it to at most one batch in a thousand million: share ** n.
_SURE = 8
_NEVER = 1e-9
# [D] What chance may add, in standard deviations: of a data set with 0.8% bad records, the first
# hundred hold two or more in one run of five.
_DEVIATIONS = 4.0
_MAX_MESSAGES = 5


class BadShare:
    """Of one data set, what was seen and what of it was bad.

    Args:
        name: of the data set, for messages.
        max_share: of the records, that may be bad; 1 allows all.
    """

    def __init__(self, name: str, max_share: float) -> None:
        self._name, self._max_share = name, max_share
        self.num_seen, self.num_bad = 0, 0
        self._said: list[str] = []

    def add(self, *, seen: int, bad: int = 0, said: Iterable[str] = ()) -> None:
        """Count records that were read together, and what the bad ones said.

        Raises:
            TooManyBadRecordsError: more than the share of at least 100 records and than chance
                would add to it; or all of so many, together or from the first one on, that chance
                is ruled out.
        """
        self.num_seen += seen
        self.num_bad += bad
        self._said += said
        del self._said[_MAX_MESSAGES:]
        expected = self._max_share * self.num_seen
        limit = expected + _DEVIATIONS * math.sqrt(expected)
        none_left = self._all_bad(bad, seen) or self._all_bad(self.num_bad, self.num_seen)
        if none_left or (self.num_seen >= _MIN_SEEN and self.num_bad > limit):
            raise self._error()

    def _all_bad(self, bad: int, seen: int) -> bool:
        return bad == seen >= _SURE and self._max_share**seen <= _NEVER

    def end(self) -> None:
        """Nothing more will be read.

        Raises:
            TooManyBadRecordsError: not one record could be used.
        """
        if self.num_bad == self.num_seen > 0 and self._max_share < 1:
            raise self._error()

    def _error(self) -> TooManyBadRecordsError:
        return TooManyBadRecordsError(
            f"data {self._name}: {self.num_bad} of {self.num_seen} records cannot be used; at "
            f"most {self._max_share:.2%} may be (max_bad_share). The first ones:\n  "
            + "\n  ".join(self._said)
            + "\nMend the data set, or raise its max_bad_share"
        )


class BadRecords:
    """Of each data set of a stage, what one rank has seen.

    Args:
        data: task to data set.
        max_shares: data set to the share that may be bad; 0.01 where it is not named.
    """

    def __init__(self, data: Mapping[str, str], max_shares: Mapping[str, float]) -> None:
        self._data = dict(data)
        self._shares = {
            name: BadShare(name, max_shares.get(name, 0.01)) for name in self._data.values()
        }

    def add(self, batch: Batch, seen: Mapping[str, int]) -> None:
        """Count a batch.

        Args:
            batch: says what was bad.
            seen: task to the number of its records that the batch was made of.

        Raises:
            TooManyBadRecordsError: as `BadShare.add`.
        """
        for name, share in self._shares.items():
            tasks = [task for task, data in self._data.items() if data == name]
            starts = tuple(f"{task}: " for task in tasks)
            share.add(
                seen=sum(seen[task] for task in tasks),
                bad=sum(batch.num_bad[task] for task in tasks),
                said=[line for line in batch.bad if line.startswith(starts)],
            )
