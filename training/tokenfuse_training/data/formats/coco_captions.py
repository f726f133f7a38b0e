"""COCO captions, of 2014 or 2017: `captions_*.json` names the pictures and what they show."""

from __future__ import annotations

import dataclasses
import os
from array import array
from collections.abc import Sequence
from typing import Any

from tokenfuse_training.config.data_settings import CocoCaptionsData
from tokenfuse_training.data.formats.columns import TextColumn
from tokenfuse_training.data.formats.entry import need_id, need_name, need_object, need_text
from tokenfuse_training.data.formats.json_file import read_json
from tokenfuse_training.data.formats.picture_path import picture_folder
from tokenfuse_training.data.formats.pictures import Grouping, PictureSource
from tokenfuse_training.errors import BadRecordError, DataError

__all__ = ["open_coco_captions"]


@dataclasses.dataclass(frozen=True, slots=True)
class _Captions:
    """Rows are captions that can be used."""

    texts: TextColumn

    def of(self, rows: Sequence[int]) -> dict[str, Any]:
        return {"captions": tuple(map(self.texts.__getitem__, rows))}


class _Reader:
    """The two arrays of the file, which may come in any order."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.grouping = Grouping()
        self.group_of: dict[int, int] = {}
        self.texts = TextColumn()
        self.images = array("q")
        self._seen: set[int] = set()

    def add_image(self, number: int, value: Any) -> None:
        image_id = -1
        try:
            entry = need_object(value)
            image_id = need_id(entry, "id")
            if image_id in self.group_of:
                raise DataError(f"{self.path} has image id {image_id} twice; keep one")
            group = self.grouping.picture(image_id, need_name(entry, "file_name"))
        except BadRecordError as error:
            group = self.grouping.damage(f"{self.path}: images[{number}] {error}")
        # Captions of a damaged one go with it: one fault counts once.
        self.group_of[image_id] = group

    def add_caption(self, number: int, value: Any) -> None:
        try:
            entry = need_object(value)
            caption_id = need_id(entry, "id")
            if caption_id in self._seen:
                raise DataError(f"{self.path} has annotation id {caption_id} twice; keep one")
            self._seen.add(caption_id)
            image_id = need_id(entry, "image_id")
            caption = need_text(entry, "caption")
        except BadRecordError as error:
            self.grouping.damage(f"{self.path}: annotations[{number}] {error}")
            return
        self.images.append(image_id)
        self.texts.append(caption)

    def join(self) -> None:
        for row, image_id in enumerate(self.images):
            group = self.group_of.get(image_id)
            if group is None:
                self.grouping.damage(
                    f"{self.path}: caption {self.texts[row]!r:.60} is of image {image_id}, which "
                    "`images` lacks"
                )
            else:
                self.grouping.add(group, row)


def open_coco_captions(name: str, settings: CocoCaptionsData) -> PictureSource:
    """Open COCO captions; pictures are named by the file itself.

    Raises:
        DataError: the file is missing or not what it should be.
    """
    path = os.path.join(settings.root, settings.annotations)
    folder = picture_folder(os.path.join(settings.root, settings.images))
    reader = _Reader(path)
    file = read_json(path, each={"images": reader.add_image, "annotations": reader.add_caption})
    for field in ("images", "annotations"):
        if field not in file.counts:
            raise DataError(f"{path} has no {field!r}; need a captions_*.json of COCO, with one")
    reader.join()
    return reader.grouping.source(
        name,
        folder,
        _Captions(reader.texts),
        limit=settings.limit,
        what="caption",
        files=["coco_captions", file.sha256],
        said=path,
    )
