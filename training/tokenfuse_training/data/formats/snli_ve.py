"""SNLI-VE: statements that a Flickr30k picture entails, contradicts or leaves open."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from tokenfuse_training.config.data_settings import SnliVeData
from tokenfuse_training.data.formats.columns import TextColumn, WordColumn
from tokenfuse_training.data.formats.entry import need_name, need_object, need_text
from tokenfuse_training.data.formats.json_file import read_json_lines
from tokenfuse_training.data.formats.picture_path import picture_folder
from tokenfuse_training.data.formats.pictures import Grouping, PictureSource
from tokenfuse_training.data.record import Answer, Question
from tokenfuse_training.errors import BadRecordError, DataError
from tokenfuse_training.tasks.entail import ENTAIL_WORDS

__all__ = ["open_snli_ve"]


@dataclasses.dataclass(frozen=True, slots=True)
class _Statements:
    """Rows are statements that can be used."""

    ids: TextColumn = dataclasses.field(default_factory=TextColumn)
    texts: TextColumn = dataclasses.field(default_factory=TextColumn)
    labels: WordColumn = dataclasses.field(default_factory=WordColumn)

    def of(self, rows: Sequence[int]) -> dict[str, Any]:
        return {"statements": tuple(map(self._statement, rows))}

    def _statement(self, row: int) -> Question:
        label = self.labels[row]
        answers = (Answer(text=label),)
        return Question(id=self.ids[row], text=self.texts[row], answers=answers, kind=label)


def open_snli_ve(name: str, settings: SnliVeData) -> PictureSource:
    """Open SNLI-VE; pictures are `<Flickr30K_ID>.jpg`, and a statement's kind is its label.

    Raises:
        DataError: the file is missing or not what it should be.
    """
    path = os.path.join(settings.root, settings.annotations)
    folder = picture_folder(os.path.join(settings.root, settings.images))
    texts, grouping = _Statements(), Grouping()
    seen: set[str] = set()

    def add(number: int, value: Any) -> None:
        where = f"{path}, line {number},"
        try:
            entry = need_object(value)
            pair_id = need_name(entry, "pairID")
            if pair_id in seen:
                raise DataError(f"{where} has the pairID {pair_id!r} again; keep one")
            seen.add(pair_id)
            image_id = need_name(entry, "Flickr30K_ID")
            statement = need_text(entry, "sentence2")
            label = need_text(entry, "gold_label")
            if label not in ENTAIL_WORDS:
                # `-` is what SNLI has where its annotators did not agree.
                raise BadRecordError(f"gold_label={label!r}: need one of {', '.join(ENTAIL_WORDS)}")
        except BadRecordError as error:
            grouping.damage(f"{where} {error}")
            return
        texts.ids.append(pair_id)
        texts.texts.append(statement)
        texts.labels.append(label)
        grouping.add(grouping.picture(image_id, f"{image_id}.jpg"), len(texts.ids) - 1)

    sha256 = read_json_lines(path, add)
    texts.labels.close()
    return grouping.source(
        name,
        folder,
        texts,
        limit=settings.limit,
        what="statement",
        files=["snli_ve", sha256],
        said=path,
    )
