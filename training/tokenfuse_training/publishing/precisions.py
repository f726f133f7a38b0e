"""Which precisions answer like fp32: every one asked the same questions, by the engine itself."""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from tokenfuse_training.evaluation.answerers import ModelAnswerer
from tokenfuse_training.evaluation.ask import PREFIXES, AskedPicture, ask
from tokenfuse_training.evaluation.evaluate import is_labelled, points
from tokenfuse_training.progress import bar

if TYPE_CHECKING:
    import os

    from tokenfuse_sdk.bundle import PrecisionRecord
    from tokenfuse_sdk.errors import BundleFormatError
    from tokenfuse_sdk.model import Model
    from tokenfuse_training.evaluation.asked_set import AskedSet

__all__ = ["NUM_QUESTIONS", "REQUIRED_PER_MILLE", "measure_precisions", "record_measured"]

NUM_QUESTIONS = 2_000

# Answers in a thousand that must be fp32's, for a precision to be chosen by itself.
REQUIRED_PER_MILLE = 995


def _open(
    path: str | os.PathLike[str], precisions: Sequence[str], num_threads: int | None
) -> list[Model]:
    """The bundle's model on the CPU in each precision."""
    from tokenfuse_sdk.bundle import read_bundle
    from tokenfuse_sdk.model import Model
    from tokenfuse_sdk.runtime import choose_precision, place

    # A record that is there says nothing here, and may be the damaged one that is to be replaced.
    bundle = read_bundle(path, with_record=False)
    return [
        Model(bundle, choose_precision(place("cpu", name, num_threads), bundle))
        for name in precisions
    ]


def measure_precisions(
    path: str | os.PathLike[str],
    asked_set: AskedSet,
    *,
    num_threads: int | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> PrecisionRecord:
    """Ask a bundle the same questions in every precision, at every token budget.

    Args:
        path: the bundle.
        asked_set: what is asked; as many questions as a record may have.
        num_threads: that one call uses; None for what affinity and cgroup allow.
        report: called with the number of questions done; with 0 once it is sure to begin.

    Returns:
        The record, for `tokenfuse_sdk.bundle.record_precisions`. Its counts of right answers are
        sums of scores, rounded.

    Raises:
        BundleFormatError: a record cannot have so few or so many questions, or such a seed;
            nothing is asked.
    """
    from tokenfuse_sdk.bundle import MIN_QUESTIONS, BudgetCount, PrecisionRecord, check_asked
    from tokenfuse_sdk.runtime import PRECISIONS

    if 0 < asked_set.num_questions < MIN_QUESTIONS:
        raise _too_few(asked_set.num_questions)
    # 0 is all of them, which are counted when they have been asked.
    check_asked(num_questions=asked_set.num_questions or MIN_QUESTIONS, seed=asked_set.seed)
    names = PRECISIONS["cpu"]
    with contextlib.ExitStack() as stack:
        models = [stack.enter_context(model) for model in _open(path, names, num_threads)]
        info = models[0].info
        budgets = info.token_budgets
        same: collections.Counter[tuple[str, int]] = collections.Counter()
        right: dict[tuple[str, int], float] = dict.fromkeys(
            ((name, budget) for name in names for budget in budgets), 0.0
        )
        pictures = _enough(asked_set.pictures(models[0].config.vision), MIN_QUESTIONS)
        report(0)
        # All answer one chunk of pictures before the next is read: `tee` keeps no more.
        asked = [
            ask(
                ModelAnswerer(model),
                own,
                prefix=PREFIXES[asked_set.task],
                token_budgets=budgets,
                report=report if model is models[-1] else lambda done: None,
            )
            for model, own in zip(models, itertools.tee(pictures, len(models)), strict=True)
        ]
        done = 0
        for rows in zip(*asked, strict=True):
            done += 1
            for budget in budgets:
                first = rows[0].answers[budget]
                for name, row in zip(names, rows, strict=True):
                    text = row.answers[budget]
                    same[name, budget] += text == first
                    if is_labelled(asked_set.task, row.question):
                        right[name, budget] += points(asked_set.task, text, row.question)
    return PrecisionRecord(
        weights_sha256=info.weights_sha256,
        isa=info.isa,
        data=asked_set.data,
        split=asked_set.split,
        seed=asked_set.seed,
        num_questions=done,
        required_per_mille=REQUIRED_PER_MILLE,
        counts={
            name: tuple(
                BudgetCount(token_budget=n, same=same[name, n], right=round(right[name, n]))
                for n in budgets
            )
            for name in names
        },
    )


def _enough(pictures: Iterable[AskedPicture], least: int) -> Iterator[AskedPicture]:
    """The same pictures; too few questions are an error before any of them is asked."""
    kept: list[AskedPicture] = []
    found = 0
    iterator = iter(pictures)
    for picture in iterator:
        kept.append(picture)
        found += len(picture.questions)
        if found >= least:
            break
    if found < least:
        raise _too_few(found)
    return itertools.chain(kept, iterator)


def _too_few(count: int) -> BundleFormatError:
    from tokenfuse_sdk.bundle import MIN_QUESTIONS
    from tokenfuse_sdk.errors import BundleFormatError

    return BundleFormatError(
        f"there are {count} questions, too few for a record, which needs {MIN_QUESTIONS}"
    )


def record_measured(
    path: str | os.PathLike[str],
    asked_set: AskedSet,
    *,
    num_threads: int | None = None,
    overwrite: bool = False,
) -> PrecisionRecord:
    """`measure_precisions` with a bar; the record becomes a part of the bundle.

    Raises:
        BundleExistsError: there is a record, and `overwrite` was not given; nothing is measured.
    """
    from tokenfuse_sdk.bundle import check_record, record_precisions

    check_record(path, overwrite=overwrite)
    with contextlib.ExitStack() as stack:

        @functools.cache
        def shown() -> Callable[..., None]:
            total = asked_set.num_questions or None
            return stack.enter_context(bar("asking in every precision", total=total))

        record = measure_precisions(
            path, asked_set, num_threads=num_threads, report=lambda done: shown()(completed=done)
        )
        shown()(total=record.num_questions, completed=record.num_questions)
    record_precisions(path, record, overwrite=overwrite)
    return record
