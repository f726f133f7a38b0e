"""How right one answer is, by the rule of its task."""

from __future__ import annotations

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.data.record import Question
from tokenfuse_training.errors import DataError
from tokenfuse_training.evaluation.vqa_accuracy import vqa_accuracy
from tokenfuse_training.tasks.entail import entail_word

__all__ = ["SCORED_TASKS", "score"]

SCORED_TASKS = ("vqa", "gqa", "entail", "scenes")


def score(task: str, text: str, question: Question) -> float:
    """The score of an answer.

    Args:
        task: `vqa` is the official accuracy; `gqa`, `entail` and `scenes` ask for a right answer
            in full, apart from case and the space around it.
        text: the answer; `entail` takes the label's word (yes, maybe, no).
        question: with what is right.

    Returns:
        0 to 1.

    Raises:
        ConfigError: another task.
        DataError: the data set does not tell what is right.
    """
    if task not in SCORED_TASKS:
        raise ConfigError(f"task={task!r} has no score; need one of {', '.join(SCORED_TASKS)}")
    if task == "vqa":
        if not question.said:
            raise DataError(
                f"question {question.id} has nothing that annotators said, which the accuracy of "
                "vqa needs; give `annotations`, or score by gqa where there is one right answer"
            )
        return vqa_accuracy(text, question.said)
    if not question.answers:
        raise DataError(f"question {question.id} has no answer; use a split that tells them")
    right = [answer.text for answer in question.answers]
    if task == "entail":
        right = [entail_word(label) or label for label in right]
    return float(_plain(text) in map(_plain, right))


def _plain(text: str) -> str:
    return text.strip().lower()
