"""An IndexedSource of pictures with what is said about each: what the four formats share.

A damaged entry is a record of its own, which is bad when it is asked for: what is whole about
the same picture is still used, and the share of what is bad counts every entry.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from array import array
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from tokenfuse_training.data.formats.columns import TextColumn
from tokenfuse_training.data.formats.picture_path import find_picture
from tokenfuse_training.data.record import Record
from tokenfuse_training.errors import BadRecordError, DataError

__all__ = ["Grouping", "PictureSource", "Texts"]


class Texts(Protocol):
    """What is said, by row; pickles to workers."""

    def of(self, rows: Sequence[int]) -> dict[str, Any]:
        """Fields of a `Record`."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PictureSource:
    """Pictures in the order in which the data set names them first.

    Args:
        name: of the data set in the config.
        folder: of the pictures.
        names: the file of each picture, below `folder`.
        order: rows, those of one picture together.
        ends: of each picture's rows in `order`; one more than pictures.
        damaged: records that are bad, and why.
        texts: what the rows say.
        fingerprint: of the files that were read and of `limit`; pictures are not read for it.
    """

    name: str
    folder: str
    names: TextColumn
    order: np.ndarray
    ends: np.ndarray
    damaged: Mapping[int, str]
    texts: Texts
    fingerprint: str

    def __len__(self) -> int:
        return len(self.ends) - 1

    def record(self, index: int) -> Record:
        """Record `index`; see `IndexedSource`."""
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        if index in self.damaged:
            raise BadRecordError(self.damaged[index])
        name = self.names[index]
        path = find_picture(self.folder, name)
        rows = self.order[self.ends[index] : self.ends[index + 1]]
        return Record(key=f"{self.name}: {name}", image=path, **self.texts.of(rows.tolist()))


class Grouping:
    """Puts rows together by picture while the files are read."""

    def __init__(self) -> None:
        self._group_of: dict[Hashable, int] = {}
        self._names = TextColumn()
        self._rows = array("q")
        self._groups = array("q")
        self._damaged: dict[int, str] = {}

    def picture(self, key: Hashable, name: str) -> int:
        """The number of a picture, which is new where the key is.

        Args:
            key: what the data set calls it.
            name: its file below the folder.
        """
        group = self._group_of.get(key)
        if group is None:
            group = self._group_of[key] = len(self._names)
            self._names.append(name)
        return group

    def add(self, group: int, row: int) -> None:
        """Row `row` is about this picture."""
        self._groups.append(group)
        self._rows.append(row)

    def damage(self, message: str) -> int:
        """An entry that cannot be used, as a record of its own; its number."""
        group = len(self._names)
        self._damaged[group] = message
        self._names.append("")
        return group

    def source(
        self,
        name: str,
        folder: str,
        texts: Texts,
        *,
        limit: int,
        what: str,
        files: Sequence[str],
        said: str = "",
    ) -> PictureSource:
        """What was put together.

        Args:
            name, folder, texts: as in `PictureSource`.
            limit: records to keep; 0 for all.
            what: an entry, for messages.
            files: what was read: sha256 of each, and whatever else decides the records.
            said: names the file, for messages.

        Raises:
            DataError: there is nothing to use.
        """
        if not self._rows:
            first = next(iter(self._damaged.values()), f"it holds no {what}s")
            raise DataError(f"{said} has no {what} that can be used; the first: {first}")
        groups = np.frombuffer(self._groups, np.int64)
        count = len(self._names) if not limit else min(limit, len(self._names))
        # Stable: the rows of one picture stay in the order of the file.
        by_group = np.argsort(groups, kind="stable")
        by_group = by_group[groups[by_group] < count]
        per_group = np.bincount(groups[by_group], minlength=count)
        damaged = {index: why for index, why in self._damaged.items() if index < count}
        for index in np.nonzero(per_group == 0)[0].tolist():
            damaged.setdefault(index, f"the picture {self._names[index]} has no {what}")
        digest = hashlib.sha256(json.dumps([*files, limit]).encode())
        return PictureSource(
            name=name,
            folder=folder,
            names=self._names,
            order=np.frombuffer(self._rows, np.int64)[by_group].astype(np.int32),
            ends=np.concatenate([[0], np.cumsum(per_group)]).astype(np.int64),
            damaged=damaged,
            texts=texts,
            fingerprint=digest.hexdigest(),
        )
