"""Accuracy of a loaded `Model`: the pictures and words take the way of an application."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tokenfuse_training.accuracy import Accuracy
from tokenfuse_training.data.scenes import Question, render, sample_scene, scene_questions
from tokenfuse_training.recipes.scenes_nano import SCENES_NANO

if TYPE_CHECKING:
    from tokenfuse_sdk import Model

__all__ = ["ask_scenes", "scenes_asked"]


def scenes_asked(
    split: str, *, num_questions: int, seed: int, size: int
) -> Iterator[tuple[np.ndarray, list[Question]]]:
    """Pictures (uint8, `size` pixels a side) and their questions, `num_questions` in all."""
    left, index = num_questions, 0
    while left > 0:
        scene = sample_scene(split, index, seed=seed)
        questions = scene_questions(
            scene, split, index, seed=seed, num_questions=SCENES_NANO.num_questions
        )[:left]
        yield render(scene, size), questions
        left -= len(questions)
        index += 1


def ask_scenes(
    model: Model,
    *,
    split: str,
    num_questions: int,
    token_budgets: Sequence[int],
    seed: int | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> list[Accuracy]:
    """Ask `num_questions` questions of a split at each budget.

    Args:
        model: an open model.
        split: val or test; the digits of neither were seen in training.
        num_questions: of as many scenes as that takes.
        token_budgets: each is asked the same questions.
        seed: of the scenes; None for the recipe's own.
        report: called with the number of questions done.

    Returns:
        One accuracy per budget, in the order given.
    """
    seed = SCENES_NANO.seed if seed is None else seed
    right: list[dict[str, int]] = [{} for _ in token_budgets]
    asked: dict[str, int] = {}
    done = 0
    for image, questions in scenes_asked(
        split, num_questions=num_questions, seed=seed, size=model.config.vision.image_size
    ):
        tokens = model.encode_image(image)
        for question in questions:
            asked[question.family] = asked.get(question.family, 0) + 1
            for budget, counts in zip(token_budgets, right, strict=True):
                answer = model.answer(tokens, question.text, token_budget=budget)
                ok = answer.text == question.answer
                counts[question.family] = counts.get(question.family, 0) + int(ok)
        done += len(questions)
        report(done)
    return [
        Accuracy.from_counts(budget, counts, asked)
        for budget, counts in zip(token_budgets, right, strict=True)
    ]
