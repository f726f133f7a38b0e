"""What users ask: checked, and as ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tokenfuse_sdk.errors import QuestionError
from tokenfuse_sdk.image_tokens import ImageTokens
from tokenfuse_sdk.model.facts import Facts
from tokenfuse_sdk.preprocess.decode import ImageSource

__all__ = ["candidate_ids", "paired", "question_ids"]


def question_ids(facts: Facts, prefix: str, text: str) -> NDArray[np.int32]:
    """Ids of a task prefix and a question.

    Raises:
        QuestionError: not text, empty, or too long.
    """
    if not isinstance(text, str):
        raise QuestionError(f"the question is a {type(text).__name__}; need a str")
    if not text.strip():
        raise QuestionError("the question is empty; ask something")
    ids: NDArray[np.int32] = facts.tokenizer.encode(prefix + text, facts.config.text.max_tokens)
    return ids


def candidate_ids(facts: Facts, candidates: Sequence[str]) -> list[NDArray[np.int32]]:
    """Ids of each answer that is to be scored.

    Raises:
        QuestionError: no list of texts, none, or one that is empty or too long.
    """
    is_list = isinstance(candidates, Sequence) and not isinstance(candidates, str | bytes)
    if not is_list or not candidates:
        raise QuestionError("candidates: need a list of one text or more")
    for text in candidates:
        if not isinstance(text, str) or not text.strip():
            raise QuestionError(
                f"the candidate {text!r} is no text; need a str that says something"
            )
    return [facts.tokenizer.encode(text, facts.config.decoder.max_tokens) for text in candidates]


def paired(
    images: ImageSource | ImageTokens | Sequence[ImageSource | ImageTokens],
    questions: Sequence[str],
) -> list[tuple[ImageSource | ImageTokens, str]]:
    """Each question with its picture.

    Raises:
        QuestionError: no list of questions, or not one for each picture.
    """
    if isinstance(questions, str) or not isinstance(questions, Sequence):
        raise QuestionError("questions: need a list of texts; for one, call answer()")
    if not isinstance(images, list | tuple):
        return [(images, question) for question in questions]  # type: ignore[misc]
    if len(images) != len(questions):
        raise QuestionError(
            f"{len(images)} images and {len(questions)} questions; pass one image for "
            "all questions, or one for each"
        )
    return list(zip(images, questions, strict=True))
