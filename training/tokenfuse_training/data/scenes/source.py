"""Scenes as a data set: `Record`s for every task, with what only a generator knows beside."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable

import numpy as np

from tokenfuse_sdk.config import VisionConfig
from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.config.data_settings import ScenesData
from tokenfuse_training.data.record import Answer, Question, SceneRecord
from tokenfuse_training.data.scenes.questions import FAMILIES
from tokenfuse_training.data.scenes.store import SceneStore, StoreSpec, open_store

__all__ = ["ScenesSource", "open_scenes"]

_ENTAIL = "entail: "
# What stands for every picture, or every question, where they are hidden.
_GREY, _NO_QUESTION = 128, "?"


def _questions(key: str, rows: Iterable[tuple[str, str, str]]) -> tuple[Question, ...]:
    return tuple(
        Question(id=f"{key}/{k}", text=text, answers=(Answer(text=answer),), kind=kind)
        for k, (kind, text, answer) in enumerate(rows)
    )


def _asked(store: SceneStore, num_scenes: int, families: tuple[str, ...]) -> np.ndarray:
    """int32 numbers of the scenes that are asked one of the families; all where none is named."""
    if not families:
        return np.arange(num_scenes, dtype=np.int32)
    asked = (
        index
        for index in range(num_scenes)
        if any(kind in families for kind, _, _ in store.texts(index)["questions"])
    )
    return np.fromiter(asked, np.int32)


class ScenesSource:
    """An `IndexedSource`; it passes to another process as the name of its folder.

    With `families` it has only the scenes that are asked one of them: a scene without is no
    damage, there is just nothing to ask.
    """

    def __init__(
        self,
        spec: StoreSpec,
        cache: pathlib.Path,
        store: SceneStore,
        families: tuple[str, ...] = (),
        hide: str = "",
        scenes: np.ndarray | None = None,
    ) -> None:
        self._spec, self._cache, self._store = spec, cache, store
        self._families, self._hide = families, hide
        self._scenes = _asked(store, spec.num_scenes, families) if scenes is None else scenes

    def __reduce__(self) -> tuple[object, ...]:
        # To find them anew takes seconds; all of them are no list.
        scenes = self._scenes if self._families else None
        return _reopen, (self._spec, self._cache, self._families, self._hide, scenes)

    @property
    def fingerprint(self) -> str:
        """Name of the store, all that its scenes depend on, and what is left out of them."""
        asked = f"-asked-{'-'.join(self._families)}" if self._families else ""
        return f"{self._spec.key}{asked}{f'-no-{self._hide}' if self._hide else ''}"

    def __len__(self) -> int:
        return len(self._scenes)

    def record(self, index: int) -> SceneRecord:
        """Scene `index` of those that it has.

        Its caption reads from left to right; its statements are those it entails, contradicts
        or leaves open, answered yes, no or maybe.
        """
        spec, store = self._spec, self._store
        index = int(self._scenes[index])
        texts = store.texts(index)
        key = f"{spec.split}-{spec.seed}-{index}"
        descriptions = texts["descriptions"]
        statements = [
            (kind, text.removeprefix(_ENTAIL), answer)
            for kind, text, answer in descriptions
            if kind == "entail"
        ]
        families = self._families or FAMILIES
        asked = [row for row in texts["questions"] if row[0] in families]
        image = store.images_u8[index]
        if self._hide == "question":
            asked = [(kind, _NO_QUESTION, answer) for kind, _, answer in asked]
        elif self._hide == "picture":
            image = np.full_like(image, _GREY)
        return SceneRecord(
            key=f"scenes/{key}",
            image=image,
            captions=(texts["caption"],),
            questions=_questions(key, asked),
            statements=_questions(f"{key}/entail", statements),
            patch_color=store.patch_color[index],
            patch_kind=store.patch_kind[index],
            descriptions=_questions(f"{key}/description", descriptions),
            stones=_questions(f"{key}/stone", texts["stones"]),
        )


def _reopen(
    spec: StoreSpec,
    cache: pathlib.Path,
    families: tuple[str, ...],
    hide: str,
    scenes: np.ndarray | None,
) -> ScenesSource:
    return ScenesSource(spec, cache, open_store(spec, cache), families, hide, scenes)


def open_scenes(
    settings: ScenesData,
    vision: VisionConfig,
    report: Callable[[int], None] = lambda done: None,
) -> ScenesSource:
    """Open scenes drawn for an image encoder, drawing them first where `root` has them not.

    Args:
        settings: which scenes, and the folder that keeps them.
        vision: its picture's size and patches.
        report: called with the number of scenes drawn.

    Raises:
        ConfigError: a family that there is not, or that no scene is asked.
    """
    unknown = set(settings.families) - set(FAMILIES)
    if unknown:
        raise ConfigError(
            f"families={', '.join(sorted(unknown))}: need some of {', '.join(FAMILIES)}"
        )
    limit = settings.limit or settings.num_scenes
    spec = StoreSpec(
        split=settings.split,
        num_scenes=min(limit, settings.num_scenes),
        num_questions=settings.num_questions,
        seed=settings.seed,
        image_size=vision.image_size,
        grid_size=vision.grid_size,
    )
    cache = pathlib.Path(settings.root)
    store = open_store(spec, cache, report=report)
    source = ScenesSource(spec, cache, store, settings.families, settings.hide)
    if not len(source):
        raise ConfigError(
            f"families={', '.join(settings.families)}: none of {spec.num_scenes} scenes is "
            "asked one of them; take more scenes, or more of num_questions"
        )
    return source
