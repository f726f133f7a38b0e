"""Accuracy of a loaded `Model`: the pictures and words take the way of an application."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tokenfuse_training.accuracy import Accuracy, ScoredQuestion
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
    asked: list[list[ScoredQuestion]] = [[] for _ in token_budgets]
    done = 0
    pictures = scenes_asked(
        split, num_questions=num_questions, seed=seed, size=model.config.vision.image_size
    )
    for number, (image, questions) in enumerate(pictures):
        tokens = model.encode_image(image)
        for question in questions:
            for budget, rows in zip(token_budgets, asked, strict=True):
                answer = model.answer(tokens, question.text, token_budget=budget)
                right = float(answer.text == question.answer)
                rows.append(ScoredQuestion(picture=number, family=question.family, score=right))
        done += len(questions)
        report(done)
    return [
        Accuracy.from_questions(budget, rows)
        for budget, rows in zip(token_budgets, asked, strict=True)
    ]
