"""From the settings of a data set to its source."""

from __future__ import annotations

from tokenfuse_sdk.config import VisionConfig
from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.config.data_settings import (
    CocoCaptionsData,
    DataSettings,
    GqaData,
    ScenesData,
    SnliVeData,
    Vqa2Data,
    WebDatasetData,
)
from tokenfuse_training.data.source import Source
from tokenfuse_training.errors import DataError

__all__ = ["open_source"]


def open_source(name: str, settings: DataSettings, *, vision: VisionConfig) -> Source:
    """Open a data set: its index files are read and checked, its pictures are not.

    Args:
        name: in the config.
        settings: one of `data_settings.DATA_FORMATS`.
        vision: the model's image encoder, which scenes are drawn for.

    Raises:
        DataError: a file is missing or not what it should be; names the data set.
    """
    try:
        return _open(name, settings, vision)
    except DataError as error:
        raise type(error)(f"data.{name}: {error}") from error


def _open(name: str, settings: DataSettings, vision: VisionConfig) -> Source:
    # Only what is used is imported: shards want webdataset, scenes scikit-learn.
    if isinstance(settings, Vqa2Data):
        from tokenfuse_training.data.formats.vqa2 import open_vqa2

        return open_vqa2(name, settings)
    if isinstance(settings, GqaData):
        from tokenfuse_training.data.formats.gqa import open_gqa

        return open_gqa(name, settings)
    if isinstance(settings, SnliVeData):
        from tokenfuse_training.data.formats.snli_ve import open_snli_ve

        return open_snli_ve(name, settings)
    if isinstance(settings, CocoCaptionsData):
        from tokenfuse_training.data.formats.coco_captions import open_coco_captions

        return open_coco_captions(name, settings)
    if isinstance(settings, WebDatasetData):
        from tokenfuse_training.data.shards import WebDatasetSource

        return WebDatasetSource(settings)
    if isinstance(settings, ScenesData):
        from tokenfuse_training.data.scenes.source import open_scenes

        return open_scenes(settings, vision)
    raise ConfigError(f"data.{name} is a {type(settings).__name__}; need one of DATA_FORMATS")
