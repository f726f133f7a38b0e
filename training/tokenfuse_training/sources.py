"""The data sets of a config, opened."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable

from tokenfuse_sdk.config import VisionConfig
from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.config.data_settings import DataSettings, ScenesData
from tokenfuse_training.config.train_config import TrainConfig
from tokenfuse_training.data.source import Source
from tokenfuse_training.progress import bar

__all__ = ["open_sources", "with_scenes_in"]


def with_scenes_in(config: TrainConfig, folder: str | os.PathLike[str]) -> TrainConfig:
    """The config with a relative `root` of scenes taken from `folder`: what is drawn is a run's."""
    data = {
        name: dataclasses.replace(settings, root=os.path.join(folder, settings.root))
        if isinstance(settings, ScenesData)
        else settings
        for name, settings in config.data.items()
    }
    return dataclasses.replace(config, data=data)


def open_sources(
    config: TrainConfig, names: Iterable[str], *, vision: VisionConfig, quiet: bool = False
) -> dict[str, Source]:
    """Name to source; each is opened once, scenes are drawn where they are not there yet.

    Args:
        config: with the roots to use.
        names: of its data sets.
        vision: the model's image encoder, for which scenes are drawn.
        quiet: show no bar.

    Raises:
        ConfigError: settings that do not fit one another; names the data set.
        DataError: a file is missing or cannot be read; names it.
    """
    return {
        name: _opened(name, config.data[name], vision, quiet=quiet) for name in dict.fromkeys(names)
    }


def _opened(name: str, settings: DataSettings, vision: VisionConfig, *, quiet: bool) -> Source:
    from tokenfuse_training.data.open import open_source

    try:
        if isinstance(settings, ScenesData) and not quiet:
            return _drawn(settings, vision)
        return open_source(name, settings, vision=vision)
    except ConfigError as error:
        # Of a format's own loader, which knows its settings and not their name.
        named = str(error).startswith("data.")
        raise ConfigError(str(error) if named else f"data.{name}: {error}") from error


def _drawn(settings: ScenesData, vision: VisionConfig) -> Source:
    from tokenfuse_training.data.scenes.source import open_scenes

    with bar(f"drawing {settings.split} scenes", total=settings.num_scenes) as update:
        source = open_scenes(settings, vision, report=lambda done: update(completed=done))
        # What was there already reports nothing.
        update(completed=settings.num_scenes)
        return source
