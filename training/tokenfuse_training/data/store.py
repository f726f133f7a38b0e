"""Scenes drawn and tokenised once, then read by every training step.

A store is a function of (split, seed, sizes) alone and is cached as one `.npy`
file per array; the cache's name holds everything it depends on.
"""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable

import numpy as np
from tokenizers import Tokenizer

from tokenfuse_training.data.scenes.captions import TASKS, text_example
from tokenfuse_training.data.scenes.dataset import scene_questions
from tokenfuse_training.data.scenes.labels import patch_labels
from tokenfuse_training.data.scenes.questions import FAMILIES
from tokenfuse_training.data.scenes.render import render
from tokenfuse_training.data.scenes.rng import Rng, stream_key
from tokenfuse_training.data.scenes.sampling import sample_scene
from tokenfuse_training.data.scenes.stones import FORMS, ask_stones
from tokenfuse_training.data.scenes.vocabulary import EOS_ID, build_tokenizer

__all__ = ["DESCRIPTION_TASKS", "SceneStore", "StoreSpec", "TextTable", "open_store"]

# Raised when the generator changes what it makes: part of the cache's name.
_VERSION = 5
_CHUNK = 250
# Longest texts of the generator, with `</s>`: a caption of five objects is 14 tokens.
_QUESTION_LENGTHS = (18, 2)
_DESCRIPTION_LENGTHS = (20, 16)
_STONE_LENGTHS = (18, 3)
_STONES_PER_SCENE = 8
# Two captions, one of each other task.
DESCRIPTION_TASKS = ("caption", "caption", "complete", "match", "entail")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoreSpec:
    """What a store holds.

    Args:
        split: train, val or test.
        num_scenes: scenes 0 to num_scenes - 1 of the split.
        num_questions: per scene; a scene that has fewer repeats them.
        seed: of the generator.
        image_size: pixels along a side.
        grid_size: patches along a side.
    """

    split: str
    num_scenes: int
    num_questions: int
    seed: int
    image_size: int = 64
    grid_size: int = 8

    @property
    def key(self) -> str:
        """Name of the cache folder."""
        return (
            f"scenes-v{_VERSION}-{self.split}-{self.num_scenes}x{self.num_questions}"
            f"-seed{self.seed}-{self.image_size}px-{self.grid_size}"
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """Texts of n scenes, k each: ids padded with 0 behind `</s>`.

    Args:
        text: uint8 (n, k, L).
        answer: uint8 (n, k, A).
        family: uint8 (n, k), an index into `families`.
        families: names.
    """

    text: np.ndarray
    answer: np.ndarray
    family: np.ndarray
    families: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SceneStore:
    """n scenes: pictures uint8 (n, H, W, 3), labels uint8 (n, S), texts."""

    spec: StoreSpec
    images_u8: np.ndarray
    patch_color: np.ndarray
    patch_kind: np.ndarray
    questions: TextTable
    descriptions: TextTable
    stones: TextTable

    @property
    def num_scenes(self) -> int:
        return self.images_u8.shape[0]


def _ids(tokenizer: Tokenizer, text: str, length: int) -> list[int]:
    ids = [*tokenizer.encode(text).ids, EOS_ID]
    if len(ids) > length:
        raise ValueError(f"{text!r} has {len(ids)} tokens; the store holds {length}")
    return ids + [0] * (length - len(ids))


def _scene_texts(spec: StoreSpec, index: int) -> tuple[list, list, list]:
    """(prompt, answer, family index) of the scene's questions, descriptions and stones."""
    scene = sample_scene(spec.split, index, seed=spec.seed)
    asked = scene_questions(
        scene, spec.split, index, seed=spec.seed, num_questions=spec.num_questions
    )
    questions = [(f"answer: {q.text}", q.answer, FAMILIES.index(q.family)) for q in asked]
    questions = [questions[i % len(questions)] for i in range(spec.num_questions)]
    rng = Rng(stream_key(spec.seed, spec.split, index, "texts"))
    descriptions = []
    for task in DESCRIPTION_TASKS:
        # A single object has nothing to complete: describe it instead.
        example = text_example(scene, rng, task) or text_example(scene, rng, "caption")
        if example is None:
            raise AssertionError("every scene has a caption")
        descriptions.append((example.prompt, example.target, TASKS.index(example.task)))
    rng = Rng(stream_key(spec.seed, spec.split, index, "stones"))
    asked = ask_stones(scene, rng, num_questions=_STONES_PER_SCENE)
    stones = [(f"answer: {q.text}", q.answer, FORMS.index(q.family)) for q in asked]
    return questions, descriptions, stones


def _table(rows: list[list[tuple[str, str, int]]], lengths: tuple[int, int]) -> list[np.ndarray]:
    tokenizer = build_tokenizer()
    text = [[_ids(tokenizer, row[0], lengths[0]) for row in scene] for scene in rows]
    answer = [[_ids(tokenizer, row[1], lengths[1]) for row in scene] for scene in rows]
    family = [[row[2] for row in scene] for scene in rows]
    return [np.asarray(part, dtype=np.uint8) for part in (text, answer, family)]


_NAMES = (
    "images_u8",
    "patch_color",
    "patch_kind",
    "question_text",
    "question_answer",
    "question_family",
    "description_text",
    "description_answer",
    "description_family",
    "stone_text",
    "stone_answer",
    "stone_family",
)


def _chunk(spec: StoreSpec, start: int) -> list[np.ndarray]:
    indices = range(start, min(start + _CHUNK, spec.num_scenes))
    images, colors, kinds, questions, descriptions, stones = [], [], [], [], [], []
    for index in indices:
        scene = sample_scene(spec.split, index, seed=spec.seed)
        images.append(render(scene, spec.image_size))
        labels = patch_labels(scene, spec.grid_size)
        colors.append(labels.color_GG.reshape(-1).astype(np.uint8))
        kinds.append(labels.kind_GG.reshape(-1).astype(np.uint8))
        asked, told, stepped = _scene_texts(spec, index)
        questions.append(asked)
        descriptions.append(told)
        stones.append(stepped)
    parts = [np.stack(images), np.stack(colors), np.stack(kinds)]
    parts += _table(questions, _QUESTION_LENGTHS)
    parts += _table(descriptions, _DESCRIPTION_LENGTHS)
    return parts + _table(stones, _STONE_LENGTHS)


def _load(spec: StoreSpec, folder: pathlib.Path) -> SceneStore:
    parts = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _NAMES}
    tables = {
        kind: TextTable(
            text=parts[f"{kind}_text"],
            answer=parts[f"{kind}_answer"],
            family=parts[f"{kind}_family"],
            families=families,
        )
        for kind, families in (("question", FAMILIES), ("description", TASKS), ("stone", FORMS))
    }
    return SceneStore(
        spec=spec,
        images_u8=parts["images_u8"],
        patch_color=parts["patch_color"],
        patch_kind=parts["patch_kind"],
        questions=tables["question"],
        descriptions=tables["description"],
        stones=tables["stone"],
    )


def open_store(
    spec: StoreSpec,
    cache: pathlib.Path,
    *,
    num_workers: int = 0,
    report: Callable[[int], None] = lambda done: None,
) -> SceneStore:
    """Open a store from `cache`, making it first where it is not there.

    Args:
        spec: what it holds.
        cache: folder of all stores.
        num_workers: processes that draw; 0 is one per core.
        report: called with the number of scenes done.
    """
    folder = cache / spec.key
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        temporary = pathlib.Path(tempfile.mkdtemp(prefix=f"{spec.key}.", dir=cache))
        try:
            _write(spec, temporary, num_workers or os.cpu_count() or 1, report)
            temporary.rename(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return _load(spec, folder)


def _write(
    spec: StoreSpec, folder: pathlib.Path, num_workers: int, report: Callable[[int], None]
) -> None:
    starts = range(0, spec.num_scenes, _CHUNK)
    make = functools.partial(_chunk, spec)
    arrays: list[np.ndarray] = []
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(num_workers, len(starts))) as pool:
        for start, parts in zip(starts, pool.imap(make, starts), strict=True):
            if not arrays:
                for name, part in zip(_NAMES, parts, strict=True):
                    shape = (spec.num_scenes, *part.shape[1:])
                    path = folder / f"{name}.npy"
                    arrays.append(
                        np.lib.format.open_memmap(path, "w+", dtype=part.dtype, shape=shape)
                    )
            for array, part in zip(arrays, parts, strict=True):
                array[start : start + len(part)] = part
            report(start + len(parts[0]))
    for array in arrays:
        array.flush()
