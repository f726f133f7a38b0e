"""One picture with all that is said about it: what every data set gives.

Nothing is decoded or tokenised yet, so a record is small and passes between processes.
"""

from __future__ import annotations

import dataclasses

import numpy as np

__all__ = ["Answer", "Question", "Record", "SceneRecord"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A right answer and how right it is (0 to 1)."""

    text: str
    weight: float = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question or a statement about a picture.

    Args:
        id: as the data set names it.
        text: what is asked.
        answers: the right ones, each text once; empty where the data set tells none.
        said: what each annotator said, in order, for the official accuracy; may be empty.
        kind: question type, for tables.
    """

    id: str
    text: str
    answers: tuple[Answer, ...] = ()
    said: tuple[str, ...] = ()
    kind: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A picture: where it is from, and texts of each kind that its data set has.

    Args:
        key: file and record, for messages.
        image: a path, the bytes of a file, or uint8 (H, W, 3).
        captions: in the order of the data set.
        other_caption: of another picture; None where the data set gives none.
        questions: asked about it.
        statements: that it entails, contradicts or leaves open: the label is the answer.
    """

    key: str
    image: str | bytes | np.ndarray
    captions: tuple[str, ...] = ()
    other_caption: str | None = None
    questions: tuple[Question, ...] = ()
    statements: tuple[Question, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SceneRecord(Record):
    """A scene, with what only a generator knows.

    Args:
        patch_color, patch_kind: uint8 (S,) labels of each patch.
        descriptions: captions, completions, matches, entailments; their prompts hold the prefix,
            and `kind` is the task.
        stones: what a yes or no is made of (`stones.py`); prompts hold the prefix.
    """

    patch_color: np.ndarray
    patch_kind: np.ndarray
    descriptions: tuple[Question, ...] = ()
    stones: tuple[Question, ...] = ()
