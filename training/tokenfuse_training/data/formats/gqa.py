"""GQA: a published question file, or a folder of the chunks of one."""

from __future__ import annotations

import dataclasses
import os
from array import array
from collections.abc import Sequence
from typing import Any

from tokenfuse_training.config.data_settings import GqaData
from tokenfuse_training.data.formats.columns import TextColumn, WordColumn
from tokenfuse_training.data.formats.entry import need_name, need_object, need_text, plain_text
from tokenfuse_training.data.formats.json_file import read_json
from tokenfuse_training.data.formats.picture_path import picture_folder
from tokenfuse_training.data.formats.pictures import Grouping, PictureSource
from tokenfuse_training.data.record import Answer, Question
from tokenfuse_training.errors import BadRecordError, DataError

__all__ = ["open_gqa"]

_NOT_TOLD = ""


@dataclasses.dataclass(frozen=True, slots=True)
class _GqaTexts:
    """Rows are questions that can be used; an empty answer is one that is not told."""

    ids: TextColumn = dataclasses.field(default_factory=TextColumn)
    texts: TextColumn = dataclasses.field(default_factory=TextColumn)
    answers: WordColumn = dataclasses.field(default_factory=WordColumn)
    kinds: WordColumn = dataclasses.field(default_factory=WordColumn)

    def of(self, rows: Sequence[int]) -> dict[str, Any]:
        return {"questions": tuple(map(self._question, rows))}

    def _question(self, row: int) -> Question:
        answer = self.answers[row]
        return Question(
            id=self.ids[row],
            text=self.texts[row],
            answers=() if answer == _NOT_TOLD else (Answer(text=answer),),
            kind=self.kinds[row],
        )


class _Reader:
    """Entries of one file after the other."""

    def __init__(self) -> None:
        self.texts = _GqaTexts()
        self.grouping = Grouping()
        self.path = ""
        self._groups = array("i")

    def add(self, key: str, value: Any) -> None:
        try:
            if not plain_text(key):
                raise BadRecordError("has no text as its id")
            entry = need_object(value)
            image_id = need_name(entry, "imageId")
            text = need_text(entry, "question")
            answer = need_text(entry, "answer") if "answer" in entry else _NOT_TOLD
            types = entry.get("types")
            kind = need_text(types, "structural") if isinstance(types, dict) else ""
        except BadRecordError as error:
            self.grouping.damage(f"{self.path}: question {key!r:.60} {error}")
            return
        self.texts.ids.append(key)
        self.texts.texts.append(text)
        self.texts.answers.append(answer)
        self.texts.kinds.append(kind)
        self._groups.append(self.grouping.picture(image_id, f"{image_id}.jpg"))

    def join(self) -> None:
        """Only now it is known whether answers are told at all."""
        texts = self.texts
        told = any(answer != _NOT_TOLD for answer in texts.answers.distinct())
        for row, group in enumerate(self._groups):
            if told and texts.answers[row] == _NOT_TOLD:
                self.grouping.damage(f"question {texts.ids[row]!r} has no 'answer', as others have")
            else:
                self.grouping.add(group, row)
        texts.answers.close()
        texts.kinds.close()


def open_gqa(name: str, settings: GqaData) -> PictureSource:
    """Open GQA; pictures are `<image id>.jpg`, and a question's kind is its structural type.

    Args:
        name: of the data set in the config.
        settings: `questions` is a file or a folder of `*.json`. Where no question has an answer
            (test, challenge), none is told.

    Raises:
        DataError: a file is missing or not what it should be.
    """
    path = os.path.join(settings.root, settings.questions)
    paths = [path]
    if os.path.isdir(path):
        paths = [os.path.join(path, file) for file in sorted(os.listdir(path))]
        paths = [file for file in paths if file.endswith(".json")]
        if not paths:
            raise DataError(f"{path} holds no .json file; need the chunks of a question file")
    folder = picture_folder(os.path.join(settings.root, settings.images))
    reader = _Reader()
    files = ["gqa"]
    seen: set[str] = set()
    for reader.path in paths:
        files.append(read_json(reader.path, each_field=reader.add, seen=seen).sha256)
    reader.join()
    return reader.grouping.source(
        name,
        folder,
        reader.texts,
        limit=settings.limit,
        what="question",
        files=files,
        said=path,
    )
