"""Two traces to figures, and figures to a verdict. NaN or infinity anywhere is a failure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenfuse_export.verify.bounds import Bound
from tokenfuse_export.verify.trace import STAGES, Trace, Wanted

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
        ties: others, where the reference's own two best logits were nearer than the bound.
        total: of all inputs at all budgets.
        log_prob: the largest error of an id's log-probability, up to the first other id.
    """

    same: int
    ties: int
    total: int
    log_prob: float


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
    if not np.isfinite(x).all():
        return _NOT_FINITE
    worst = float(np.abs(x - y).max())
    norms = float(np.linalg.norm(x) * np.linalg.norm(y))
    return StageError(
        max_abs=worst,
        max_rel=worst / float(np.sqrt(np.mean(y**2))),
        cosine=float(x @ y) / norms if norms else 0.0,
    )


def compare(pairs: Iterable[tuple[Trace, Wanted]], bound: Bound) -> Comparison:
    """All inputs of a runtime beside the reference's."""
    stages = dict.fromkeys(STAGES, StageError())
    faults: dict[str, None] = {}
    same = ties = total = 0
    log_prob = 0.0
    for got, wanted in pairs:
        where = f" at budget {wanted.token_budget}"
        for name, want in wanted.trace.stages.items():
            own = got.stages[name]
            if own.shape != want.shape:
                faults[f"{name}{where}: shape {list(own.shape)}, not {list(want.shape)}"] = None
                stages[name] = _NOT_FINITE
                continue
            error = _stage_error(own, want)
            stages[name] = stages[name].and_(error)
            size = float(np.sqrt(np.mean(want.astype(np.float64) ** 2)))
            faults |= dict.fromkeys(_stage_faults(name, where, error, size, bound))
        total += 1
        num_same = _num_same(got, wanted)
        error = _log_prob_error(got, wanted, num_same)
        log_prob = max(log_prob, error)
        # A log-probability is a logit less the sum of all: the error of both.
        allowed = 2 * bound.logit(float(wanted.sizes.max()))
        if not error <= allowed:
            faults[f"log-probabilities of answers{where}: off by {error:.1e} > {allowed:.1e}"] = None
        if num_same == len(wanted.trace.ids) == len(got.ids):
            same += 1
        elif _is_tie(got, wanted, num_same, bound):
            ties += 1
        else:
            faults[f"another answer{where}, where the reference was sure"] = None
    answers = Answers(same=same, ties=ties, total=total, log_prob=log_prob)
    return Comparison(stages=stages, answers=answers, faults=tuple(faults))


def _stage_faults(
    name: str, where: str, error: StageError, size: float, bound: Bound
) -> Iterable[str]:
    if not math.isfinite(error.max_abs):
        yield f"{name}{where}: NaN or infinity"
        return
    if name == "logits" and error.max_abs > bound.logit(size):
        yield f"{name}{where}: off by {error.max_abs:.1e} > {bound.logit(size):.1e}"
    elif error.max_rel > bound.worst:
        yield (
            f"{name}{where}: off by {error.max_rel:.1e} > {bound.worst:.1e} of its root mean square"
        )
    if error.cosine < bound.cosine:
        yield f"{name}{where}: cosine {error.cosine:.6f} < {bound.cosine:.6f}"


def _num_same(got: Trace, wanted: Wanted) -> int:
    """Ids up to the first other one."""
    length = min(len(got.ids), len(wanted.trace.ids))
    other = np.flatnonzero(got.ids[:length] != wanted.trace.ids[:length])
    return int(other[0]) if len(other) else length


def _log_prob_error(got: Trace, wanted: Wanted, num_same: int) -> float:
    if not np.isfinite(got.log_probs).all():
        return math.inf
    errors = np.abs(got.log_probs[:num_same] - wanted.trace.log_probs[:num_same])
    return float(errors.max(initial=0.0))


def _is_tie(got: Trace, wanted: Wanted, first_other: int, bound: Bound) -> bool:
    if first_other >= min(len(got.ids), len(wanted.trace.ids)):
        return False  # One of them is the beginning of the other.
    size = float(wanted.sizes[first_other])
    return bool(wanted.margins[first_other] <= bound.logit(size))
