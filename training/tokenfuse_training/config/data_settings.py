"""What a data set is: one dataclass for each published format, and generated scenes."""

from __future__ import annotations

import dataclasses

from tokenfuse_training.config.settings_checks import need, need_counts, need_seed, need_within

__all__ = [
    "DATA_FORMATS",
    "CocoCaptionsData",
    "DataSettings",
    "GqaData",
    "ScenesData",
    "SnliVeData",
    "Vqa2Data",
    "WebDatasetData",
    "format_of",
]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """What every format has.

    Args:
        root: the folder that the other paths start from.
        limit: use the first so many pictures only; 0 for all. Streams share it evenly.
        max_bad_share: of the records seen, how many may be unusable before it is an error.
    """

    root: str = "."
    limit: int = 0
    max_bad_share: float = 0.01

    def __post_init__(self) -> None:
        need_counts(self, "data", "limit", low=0)
        need_within(self, "data", "max_bad_share", 0.0, 1.0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Vqa2Data(DataSettings):
    """VQA v2.0: questions and annotations as published, and a folder of COCO pictures."""

    questions: str
    annotations: str | None = None
    images: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GqaData(DataSettings):
    """GQA: one of the published question files, and the folder of its pictures."""

    questions: str
    images: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SnliVeData(DataSettings):
    """SNLI-VE: one of the published jsonl files, and the folder of Flickr30k pictures."""

    annotations: str
    images: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CocoCaptionsData(DataSettings):
    """COCO captions: a captions_*.json, and a folder of COCO pictures."""

    annotations: str
    images: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WebDatasetData(DataSettings):
    """Tar shards of image-text pairs, streamed.

    Args:
        shards: files or brace patterns (`cc-{000000..000331}.tar`), under `root`.
        image, caption: extensions of a sample's picture (in order of preference, with `;`
            between them) and text.
        num_streams: shards are dealt out to so many streams, which ranks share; a multiple of
            the number of ranks, at most the number of shards.
        shuffle: samples of a stream's shuffle buffer.
    """

    shards: tuple[str, ...]
    image: str = "jpg;jpeg;png;webp"
    caption: str = "txt"
    num_streams: int = 1
    shuffle: int = 1000

    def __post_init__(self) -> None:
        super(WebDatasetData, self).__post_init__()
        need(bool(self.shards), "data", "shards", self.shards, "at least one file or pattern")
        need_counts(self, "data", "num_streams", "shuffle")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ScenesData(DataSettings):
    """Generated scenes; `root` is the folder that keeps what was drawn.

    Args:
        split: train, val or test.
        num_scenes: scenes 0 to num_scenes - 1 of the split.
        num_questions: of each at most.
        seed: of the generator.
        families: only questions of these; empty for all.
        hide: `picture` makes all of them grey, `question` makes all questions the same: what is
            learned then is what the data give away. Empty for neither.
    """

    split: str = "train"
    num_scenes: int = 10_000
    num_questions: int = 16
    seed: int = 2305
    families: tuple[str, ...] = ()
    hide: str = ""

    def __post_init__(self) -> None:
        super(ScenesData, self).__post_init__()
        need(
            self.split in ("train", "val", "test"), "data", "split", self.split, "train, val, test"
        )
        hidden = ("", "picture", "question")
        need(self.hide in hidden, "data", "hide", self.hide, "picture, question or nothing")
        need_counts(self, "data", "num_scenes", "num_questions")
        need_seed(self, "data")


# `format` in a file, to what it holds.
DATA_FORMATS: dict[str, type[DataSettings]] = {
    "vqa2": Vqa2Data,
    "gqa": GqaData,
    "snli_ve": SnliVeData,
    "coco_captions": CocoCaptionsData,
    "webdataset": WebDatasetData,
    "scenes": ScenesData,
}


def format_of(settings: DataSettings) -> str:
    """The name of its format; empty where it has none, as that of a test."""
    names = (name for name, kind in DATA_FORMATS.items() if type(settings) is kind)
    return next(names, "")
