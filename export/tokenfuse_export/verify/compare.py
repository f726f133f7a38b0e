"""Two traces to figures, and figures to a verdict. NaN or infinity anywhere is a failure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenfuse_export.verify.bounds import Bound
from tokenfuse_export.verify.trace import STAGES, Trace, Wanted
from tokenfuse_sdk.runtime.graphs.greedy import log_probs_of

__all__ = ["Answers", "Comparison", "StageError", "compare"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StageError:
    """The worst of all inputs.

    Attributes:
        max_abs: the largest absolute error; infinite where something is not finite.
        max_rel: the same over the root mean square of the reference's output.
        cosine: of an input's whole output with the reference's; 0 where something is not finite.
    """

    max_abs: float = 0.0
    max_rel: float = 0.0
    cosine: float = 1.0

    def and_(self, other: StageError) -> StageError:
        return StageError(
            max_abs=max(self.max_abs, other.max_abs),
            max_rel=max(self.max_rel, other.max_rel),
            cosine=min(self.cosine, other.cosine),
        )


_NOT_FINITE = StageError(max_abs=math.inf, max_rel=math.inf, cosine=0.0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Greedy answers beside the reference's.

    Attributes:
        same: id by id.
        ties: others, where the reference's own two best logits were as near as the errors there.
        unsure: in which the reference's two best were somewhere within r of each other, whatever
            a runtime makes of them: no more may be ties.
        total: of all inputs at all budgets.
        cache: the largest difference between the log-probabilities of a runtime's own ids, written
            one by one and computed all at once, over the root mean square of the logits.
    """

    same: int
    ties: int
    unsure: int
    total: int
    cache: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A runtime beside the reference; `faults` says what is beyond its bound."""

    stages: dict[str, StageError]
    answers: Answers
    faults: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "stages": {name: _finite(dataclasses.asdict(e)) for name, e in self.stages.items()},
            "answers": _finite(dataclasses.asdict(self.answers)),
        }


def _finite(figures: dict[str, float]) -> dict[str, float | None]:
    """JSON has no infinity: None."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def _stage_error(got: NDArray[np.float32], want: NDArray[np.float32]) -> StageError:
    x, y = got.astype(np.float64).ravel(), want.astype(np.float64).ravel()
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return _NOT_FINITE
    worst, size = float(np.abs(x - y).max()), float(np.sqrt(np.mean(y**2)))
    if not worst:
        return StageError()  # Also where all of both is zero, which has no size and no angle.
    norms = float(np.linalg.norm(x) * np.linalg.norm(y))
    return StageError(
        max_abs=worst,
        max_rel=worst / size if size else math.inf,
        cosine=float(x @ y) / norms if norms else 0.0,
    )


def compare(pairs: Iterable[tuple[Trace, Wanted]], bound: Bound) -> Comparison:
    """All inputs of a runtime beside the reference's."""
    tally = _Tally(bound)
    for got, wanted in pairs:
        for name, want in wanted.trace.stages.items():
            tally.add_stage(name, wanted.token_budget, got.stages[name], want)
        tally.add_answer(got, wanted)
    tally.check_ties()
    return Comparison(
        stages=tally.stages,
        answers=Answers(
            same=tally.same,
            ties=tally.ties,
            unsure=tally.unsure,
            total=tally.total,
            cache=tally.cache,
        ),
        faults=tuple(tally.faults),
    )


class _Tally:
    """The worst of what was added, and all that is beyond the bound."""

    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        self.stages = dict.fromkeys(STAGES, StageError())
        self.faults: list[str] = []
        self.same = self.ties = self.unsure = self.total = 0
        self.cache = 0.0

    def add_stage(
        self, name: str, budget: int, got: NDArray[np.float32], want: NDArray[np.float32]
    ) -> None:
        where = f"{name} at budget {budget}"
        error = _NOT_FINITE
        if got.shape == want.shape:
            error = _stage_error(got, want)
            size = float(np.sqrt(np.mean(want.astype(np.float64) ** 2)))
            most = self._bound.logit(size) if name == "logits" else self._bound.worst * size
            self.faults += _stage_faults(where, error, most, self._bound.cosine)
        else:
            self.faults.append(f"{where} have the shape {list(got.shape)}, not {list(want.shape)}")
        self.stages[name] = self.stages[name].and_(error)

    def add_answer(self, got: Trace, wanted: Wanted) -> None:
        where = f"at budget {wanted.token_budget}"
        self.total += 1
        self.unsure += bool((wanted.margins <= self._bound.share * wanted.sizes).any())
        error = _cache_error(got)
        self.cache = max(self.cache, error)
        if not error <= self._bound.cache:
            self.faults.append(
                f"the cache {where} changes log-probabilities by {error:.1e} > "
                f"{self._bound.cache:.1e} of the logits' root mean square"
            )
        num_same = _num_same(got, wanted)
        if num_same == len(wanted.trace.ids) == len(got.ids):
            self.same += 1
        elif _is_tie(got, wanted, num_same, self._bound):
            self.ties += 1
        else:
            self.faults.append(f"another answer {where}, where the reference was sure")

    def check_ties(self) -> None:
        """At the end: a few answers may be ties, and of a model that is sure of all, none."""
        if self.ties > self.unsure:
            self.faults.append(
                f"{self.ties} other answers of {self.total}, though the reference was unsure of "
                f"{self.unsure} at most"
            )


def _stage_faults(where: str, error: StageError, most: float, least_cosine: float) -> Iterator[str]:
    if not math.isfinite(error.max_abs):
        yield f"{where} have NaN or infinity"
        return
    if not error.max_abs <= most:
        yield f"{where} are off by {error.max_abs:.1e} > {most:.1e}"
    if not error.cosine >= least_cosine:
        yield f"{where} have a cosine of {error.cosine:.6f} < {least_cosine:.6f}"


def _num_same(got: Trace, wanted: Wanted) -> int:
    """Ids up to the first other one."""
    length = min(len(got.ids), len(wanted.trace.ids))
    other = np.flatnonzero(got.ids[:length] != wanted.trace.ids[:length])
    return int(other[0]) if len(other) else length


def _cache_error(got: Trace) -> float:
    if not (np.isfinite(got.log_probs).all() and np.isfinite(got.logits).all()):
        return math.inf
    at_once = log_probs_of(got.logits, got.ids)
    sizes = np.sqrt(np.mean(got.logits.astype(np.float64) ** 2, axis=1))
    # Logits that are all zero have no size: the difference as it is.
    return float((np.abs(got.log_probs - at_once) / np.where(sizes > 0, sizes, 1)).max())


def _is_tie(got: Trace, wanted: Wanted, first_other: int, bound: Bound) -> bool:
    if first_other >= min(len(got.ids), len(wanted.trace.ids)):
        return False  # One of them is the beginning of the other.
    # Up to here the ids are the same, and so is what these logits were computed of.
    error_V = got.logits[first_other].astype(np.float64) - wanted.trace.logits[first_other]
    most = bound.tie(float(wanted.sizes[first_other]), float(error_V.std()))
    return bool(wanted.margins[first_other] <= most)
