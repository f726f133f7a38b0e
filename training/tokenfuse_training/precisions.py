"""Which precisions answer like fp32: every one asked the same scenes, by the engine itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tokenfuse_training.ask import scenes_asked
from tokenfuse_training.progress import bar
from tokenfuse_training.recipes.scenes_nano import SCENES_NANO

if TYPE_CHECKING:
    import os

    from tokenfuse_sdk.bundle import PrecisionRecord
    from tokenfuse_sdk.model import Model

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
    *,
    split: str = "test",
    num_questions: int = NUM_QUESTIONS,
    seed: int | None = None,
    num_threads: int | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> PrecisionRecord:
    """Ask a bundle the same questions in every precision, at every token budget.

    Args:
        path: the bundle.
        split: val or test; the digits of neither were seen in training.
        num_questions: as many as a record may have, of as many scenes as that takes.
        seed: of the scenes; None for the recipe's own.
        num_threads: that one call uses; None for what affinity and cgroup allow.
        report: called with the number of questions done.

    Returns:
        The record, for `tokenfuse_sdk.bundle.record_precisions`.

    Raises:
        BundleFormatError: a record cannot have so few or so many questions, or such a seed;
            nothing is asked.
    """
    from tokenfuse_sdk.bundle import BudgetCount, PrecisionRecord, check_asked
    from tokenfuse_sdk.runtime import PRECISIONS

    seed = SCENES_NANO.seed if seed is None else seed
    check_asked(num_questions=num_questions, seed=seed)
    names = PRECISIONS["cpu"]
    with contextlib.ExitStack() as stack:
        models = [stack.enter_context(model) for model in _open(path, names, num_threads)]
        info = models[0].info
        same = {(name, budget): 0 for name in names for budget in info.token_budgets}
        right = dict(same)
        done = 0
        for image, questions in scenes_asked(
            split, num_questions=num_questions, seed=seed, size=info.image_size
        ):
            tokens = [model.encode_image(image) for model in models]
            for question in questions:
                for budget in info.token_budgets:
                    texts = [
                        model.answer(own, question.text, token_budget=budget).text
                        for model, own in zip(models, tokens, strict=True)
                    ]
                    for name, text in zip(names, texts, strict=True):
                        same[name, budget] += text == texts[0]
                        right[name, budget] += text == question.answer
            done += len(questions)
            report(done)
    return PrecisionRecord(
        weights_sha256=info.weights_sha256,
        isa=info.isa,
        data="scenes",
        split=split,
        seed=seed,
        num_questions=done,
        required_per_mille=REQUIRED_PER_MILLE,
        counts={
            name: tuple(
                BudgetCount(token_budget=n, same=same[name, n], right=right[name, n])
                for n in info.token_budgets
            )
            for name in names
        },
    )


def record_measured(
    path: str | os.PathLike[str],
    *,
    split: str = "test",
    num_questions: int = NUM_QUESTIONS,
    seed: int | None = None,
    num_threads: int | None = None,
    overwrite: bool = False,
) -> PrecisionRecord:
    """`measure_precisions` with a bar; the record becomes a part of the bundle.

    Raises:
        BundleExistsError: there is a record, and `overwrite` was not given; nothing is measured.
    """
    from tokenfuse_sdk.bundle import check_record, record_precisions

    check_record(path, overwrite=overwrite)
    with bar("asking in every precision", total=num_questions) as update:
        record = measure_precisions(
            path,
            split=split,
            num_questions=num_questions,
            seed=seed,
            num_threads=num_threads,
            report=lambda done: update(completed=done),
        )
    record_precisions(path, record, overwrite=overwrite)
    return record
