"""A published data set on disk, of which a test damages a part before it is opened."""

from __future__ import annotations

import json

from published_files import (
    ten,
    write_coco_captions,
    write_gqa,
    write_json,
    write_snli_ve,
    write_vqa2,
)

from tokenfuse_sdk.sizes import named_config
from tokenfuse_training.config.data_settings import CocoCaptionsData, GqaData, SnliVeData, Vqa2Data
from tokenfuse_training.data.open import open_source
from tokenfuse_training.errors import BadRecordError

__all__ = ["WRITERS", "Files"]

VISION = named_config("nano").vision

VQA = [(9, "What is it?", ten("cat")), (25, "How many?", ten("2")), (9, "Red?", ten("yes"))]
GQA = [("237", "Is it red?", "yes"), ("n16", "Who?", "man"), ("237", "What?", "bus")]
SNLI = [
    ("34", "A man.", "contradiction"),
    ("20", "A dog.", "entailment"),
    ("34", "Old.", "neutral"),
]
CAPTIONS = [(42, "a red bus"), (7, "two dogs"), (42, "a bus")]

WRITERS = {
    "vqa2": (Vqa2Data, write_vqa2, VQA),
    "gqa": (GqaData, write_gqa, GQA),
    "snli_ve": (SnliVeData, write_snli_ve, SNLI),
    "coco_captions": (CocoCaptionsData, write_coco_captions, CAPTIONS),
}


class Files:
    """A data set on disk, of which a part is damaged before it is opened."""

    def __init__(self, root, name, **how):
        self.kind, write, rows = WRITERS[name]
        self.root = root
        self.files = write(root, rows, **how)
        self.name = name

    def path(self, which):
        return self.root / self.files[which]

    def edit(self, which, change):
        value = json.loads(self.path(which).read_text())
        changed = change(value)
        write_json(self.path(which), value if changed is None else changed)

    def edit_line(self, number, **fields):
        path = self.path("annotations")
        lines = path.read_text().splitlines()
        entry = json.loads(lines[number])
        for key, value in fields.items():
            entry.pop(key)
            if value is not ...:
                entry[key] = value
        lines[number] = json.dumps(entry)
        path.write_text("\n".join(lines))

    def open(self, **changes):
        return open_source(
            "mine", self.kind(root=str(self.root), **self.files | changes), vision=VISION
        )

    def read(self):
        """Records that are whole, and what the others say."""
        source = self.open()
        records, bad = [], []
        for index in range(len(source)):
            try:
                records.append(source.record(index))
            except BadRecordError as error:
                bad.append(str(error))
        return records, bad
