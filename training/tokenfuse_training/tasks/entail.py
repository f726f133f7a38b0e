"""Visual entailment: whether a picture shows what a statement says, as in SNLI-VE."""

from __future__ import annotations

import dataclasses

import numpy as np

from tokenfuse_training.data.record import Answer, Record
from tokenfuse_training.errors import BadRecordError
from tokenfuse_training.tasks.one_term import OneTerm
from tokenfuse_training.tasks.prefixes import prompt
from tokenfuse_training.tasks.questions import draw_questions, one_answer
from tokenfuse_training.tasks.task import Text

__all__ = ["ENTAIL_WORDS", "Entail", "entail_word"]

# [D] The labels of SNLI-VE as words that any vocabulary of answers has.
ENTAIL_WORDS = {"entailment": "yes", "neutral": "maybe", "contradiction": "no"}


def entail_word(label: str) -> str | None:
    """The word that is written for a label of the data set, or for such a word; None for others."""
    return ENTAIL_WORDS.get(label, label if label in ENTAIL_WORDS.values() else None)


@dataclasses.dataclass(frozen=True, slots=True)
class Entail(OneTerm):
    """`entail: <statement>` → `yes`, `maybe` or `no` [D]."""

    def texts(self, record: Record, draw: np.random.Generator, count: int) -> list[Text]:
        """At most `count` of the record's statements.

        Raises:
            BadRecordError: no statement, one without text, or with a label that is none.
        """
        statements = draw_questions(record.statements, "statement", draw, count)
        found = []
        for statement in statements:
            label = one_answer(statement)
            word = entail_word(label)
            if word is None:
                raise BadRecordError(
                    f"statement {statement.id} has the label {label!r}; need one of "
                    f"{', '.join(ENTAIL_WORDS)}"
                )
            found.append(
                Text(
                    prompt=prompt("entail", statement.text),
                    targets=(Answer(text=word),),
                    kind=statement.kind,
                )
            )
        return found
