"""Accuracy of any model on any set of questions: per family and token budget, with intervals."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence

from tokenfuse_sdk.config import VisionConfig
from tokenfuse_training.data.record import Question
from tokenfuse_training.evaluation.accuracy import Accuracy, ScoredQuestion
from tokenfuse_training.evaluation.ask import PREFIXES, Answerer, ask
from tokenfuse_training.evaluation.asked import SourceQuestions
from tokenfuse_training.evaluation.asked_set import AskedSet
from tokenfuse_training.evaluation.score import score

__all__ = ["Evaluation", "evaluate_set", "is_labelled", "points", "predictions_json"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What came out.

    Args:
        accuracies: one for each budget, as they were given; none where no answer is told.
        predictions: question id and answer, at the largest budget.
        num_bad: pictures that could not be used, and were not asked.
        num_refused: questions that the model does not take, as too long ones; they score 0.
    """

    accuracies: tuple[Accuracy, ...]
    predictions: tuple[tuple[str, str], ...]
    num_bad: int
    num_refused: int


def evaluate_set(
    answerer: Answerer,
    asked_set: AskedSet,
    *,
    vision: VisionConfig,
    token_budgets: Sequence[int],
    report: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Ask all questions of a set at each budget.

    Args:
        answerer: the model.
        asked_set: what is asked.
        vision: the model's image encoder.
        token_budgets: each is asked the same questions.
        report: called with the number of questions done.
    """
    pictures = asked_set.pictures(vision)
    rows: dict[int, list[ScoredQuestion]] = {budget: [] for budget in token_budgets}
    predictions: list[tuple[str, str]] = []
    refused = 0
    most = max(token_budgets)
    for asked in ask(
        answerer,
        pictures,
        prefix=PREFIXES[asked_set.task],
        token_budgets=token_budgets,
        report=report,
    ):
        question = asked.question
        said = asked.answers[most]
        refused += said is None
        predictions.append((question.id, said or ""))
        if not is_labelled(asked_set.task, question):
            continue
        for budget, text in asked.answers.items():
            rows[budget].append(
                ScoredQuestion(
                    picture=asked.picture,
                    family=question.kind,
                    score=points(asked_set.task, text, question),
                )
            )
    return Evaluation(
        accuracies=tuple(
            Accuracy.from_questions(budget, own) for budget, own in rows.items() if own
        ),
        predictions=tuple(predictions),
        num_bad=pictures.num_bad if isinstance(pictures, SourceQuestions) else 0,
        num_refused=refused,
    )


def is_labelled(task: str, question: Question) -> bool:
    """Whether the data set tells what is right; those of a challenge do not."""
    return bool(question.said if task == "vqa" else question.answers)


def points(task: str, text: str | None, question: Question) -> float:
    """The score of an answer, 0 where there is none; a description must be right in full."""
    if text is None:
        return 0.0
    return score("scenes" if task == "describe" else task, text, question)


def predictions_json(task: str, predictions: Sequence[tuple[str, str]]) -> bytes:
    """The results file that a task's evaluation server reads.

    VQA: a list of `question_id` (a number) and `answer`; GQA: of `questionId` and `prediction`;
    others as VQA, with the id as text.
    """
    rows: list[dict[str, str | int]]
    if task == "gqa":
        rows = [{"questionId": id_, "prediction": text} for id_, text in predictions]
    else:
        rows = [
            {"question_id": int(id_) if task == "vqa" else id_, "answer": text}
            for id_, text in predictions
        ]
    return json.dumps(rows, ensure_ascii=False).encode() + b"\n"
