"""VQA v2.0: questions and annotations as published, joined by `question_id`."""

from __future__ import annotations

import dataclasses
import os
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tokenfuse_training.config.data_settings import Vqa2Data
from tokenfuse_training.data.formats.columns import TextColumn, WordColumn
from tokenfuse_training.data.formats.picture_path import picture_folder
from tokenfuse_training.data.formats.pictures import Grouping, PictureSource
from tokenfuse_training.data.formats.vqa2_files import NUM_ANSWERS, AnswerFile, QuestionFile
from tokenfuse_training.data.record import Answer, Question

__all__ = ["open_vqa2", "scored_answers"]


def scored_answers(normal: Sequence[str]) -> tuple[Answer, ...]:
    """[P of VQA v2.0] Each distinct answer is right by min(times it was said / 3, 1).

    Args:
        normal: what each annotator said, normalised; what that leaves empty is no target.

    Returns:
        The most frequent first, of equals the one that was said first.
    """
    said = Counter(text for text in normal if text)
    return tuple(Answer(text=text, weight=min(n / 3, 1.0)) for text, n in said.most_common())


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _VqaTexts:
    """Rows are questions in the order of the file.

    `said` has ten numbers a row, of the table of answers; `normal` the number of each answer's
    normalised form in its own table. Both are empty where nothing was annotated.
    """

    ids: array[int]
    texts: TextColumn
    kinds: WordColumn
    answers: TextColumn
    said: array[int]
    normal: WordColumn

    def of(self, rows: Sequence[int]) -> dict[str, Any]:
        return {"questions": tuple(map(self._question, rows))}

    def _question(self, row: int) -> Question:
        ids = self.said[NUM_ANSWERS * row : NUM_ANSWERS * (row + 1)]
        return Question(
            id=str(self.ids[row]),
            text=self.texts[row],
            answers=scored_answers([self.normal[answer] for answer in ids]),
            said=tuple(self.answers[answer] for answer in ids),
            kind=self.kinds[row] if ids else "",
        )


def open_vqa2(name: str, settings: Vqa2Data) -> PictureSource:
    """Open VQA v2.0; pictures are `COCO_<split>_<image id in 12 digits>.jpg`.

    Args:
        name: of the data set in the config.
        settings: without `annotations` (the test splits) questions have no answers.

    Raises:
        DataError: a file is missing or not what it should be.
    """
    folder = picture_folder(os.path.join(settings.root, settings.images))
    questions = QuestionFile(os.path.join(settings.root, settings.questions))
    files = ["vqa2", questions.subtype, questions.sha256]
    said, words, normal, kinds = array("i"), TextColumn(), WordColumn(), WordColumn()
    orphans: list[str] = []
    if settings.annotations is not None:
        answers = AnswerFile(os.path.join(settings.root, settings.annotations), questions)
        answers.check_all()
        files.append(answers.sha256)
        said, words, orphans = answers.said, answers.words.table, answers.orphans
        normal, kinds = answers.normal.close(), answers.kinds()
    grouping = Grouping()
    for row, image_id in enumerate(questions.images):
        if row in questions.damaged:
            grouping.damage(questions.damaged[row])
        else:
            picture = f"COCO_{questions.subtype}_{image_id:012d}.jpg"
            grouping.add(grouping.picture(image_id, picture), row)
    for message in orphans:
        grouping.damage(message)
    return grouping.source(
        name,
        folder,
        _VqaTexts(
            ids=questions.ids,
            texts=questions.texts,
            kinds=kinds,
            answers=words,
            said=said,
            normal=normal,
        ),
        limit=settings.limit,
        what="question",
        files=files,
        said=questions.path,
    )
