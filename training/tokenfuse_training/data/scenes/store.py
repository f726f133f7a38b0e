"""Scenes drawn once and read by every step: pictures, patch labels and texts on disk.

A store is a function of (split, seed, sizes) alone, and the name of its folder holds all that
it depends on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import multiprocessing
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np

from tokenfuse_sdk.atomic import atomic_folder, one_writer, remove_unfinished
from tokenfuse_training.data.scenes.captions import caption, text_example
from tokenfuse_training.data.scenes.dataset import scene_questions
from tokenfuse_training.data.scenes.labels import patch_labels
from tokenfuse_training.data.scenes.render import render
from tokenfuse_training.data.scenes.rng import Rng, stream_key
from tokenfuse_training.data.scenes.sampling import sample_scene
from tokenfuse_training.data.scenes.scene import Scene
from tokenfuse_training.data.scenes.stones import ask_stones
from tokenfuse_training.errors import DataError

__all__ = ["DESCRIPTION_TASKS", "SceneStore", "StoreSpec", "open_store"]

# Raised when the generator changes what it makes: part of the folder's name.
_VERSION = 6
# A process draws so many at a time; fewer are drawn in this one.
_CHUNK = 250
_STONES_PER_SCENE = 8
# Two captions, one of each other task.
DESCRIPTION_TASKS = ("caption", "caption", "complete", "match", "entail")
_ARRAYS = ("images_u8", "patch_color", "patch_kind")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoreSpec:
    """What a store holds.

    Args:
        split: train, val or test.
        num_scenes: scenes 0 to num_scenes - 1 of the split.
        num_questions: of each at most; a scene of one object has fewer.
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
        """Name of the folder."""
        return (
            f"scenes-v{_VERSION}-{self.split}-{self.num_scenes}x{self.num_questions}"
            f"-seed{self.seed}-{self.image_size}px-{self.grid_size}"
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SceneStore:
    """n scenes, memory-mapped.

    Args:
        images_u8: (n, H, W, 3).
        patch_color, patch_kind: uint8 (n, S).
        lines_u8: the texts of all scenes, a line of JSON each.
        line_ends: int64 (n,), where each line ends.
    """

    images_u8: np.ndarray
    patch_color: np.ndarray
    patch_kind: np.ndarray
    lines_u8: np.ndarray
    line_ends: np.ndarray

    def texts(self, index: int) -> dict[str, Any]:
        """`caption`, and lists of (kind, text, answer): `questions`, `descriptions`, `stones`.

        Texts of descriptions and stones hold the task's prefix.
        """
        begin = int(self.line_ends[index - 1]) if index else 0
        return json.loads(self.lines_u8[begin : int(self.line_ends[index])].tobytes())


def _descriptions(scene: Scene, rng: Rng) -> list[tuple[str, str, str]]:
    found = {}
    for task in DESCRIPTION_TASKS:
        # A single object has nothing to complete: describe it instead.
        example = text_example(scene, rng, task) or text_example(scene, rng, "caption")
        if example is None:
            raise AssertionError("every scene has a caption")
        found[example.prompt] = (example.task, example.prompt, example.target)
    return list(found.values())


def _texts(spec: StoreSpec, index: int, scene: Scene) -> dict[str, Any]:
    def rng(stream: str) -> Rng:
        return Rng(stream_key(spec.seed, spec.split, index, stream))

    asked = scene_questions(
        scene, spec.split, index, seed=spec.seed, num_questions=spec.num_questions
    )
    stones = ask_stones(scene, rng("stones"), num_questions=_STONES_PER_SCENE)
    return {
        "caption": caption(scene),
        "questions": [(q.family, q.text, q.answer) for q in asked],
        "descriptions": _descriptions(scene, rng("texts")),
        "stones": list(
            {q.text: (q.family, f"answer: {q.text}", q.answer) for q in stones}.values()
        ),
    }


def _chunk(spec: StoreSpec, start: int) -> tuple[tuple[np.ndarray, ...], list[bytes]]:
    """Arrays and lines of the scenes from `start` on."""
    images, colors, kinds, lines = [], [], [], []
    for index in range(start, min(start + _CHUNK, spec.num_scenes)):
        scene = sample_scene(spec.split, index, seed=spec.seed)
        images.append(render(scene, spec.image_size))
        labels = patch_labels(scene, spec.grid_size)
        colors.append(labels.color_GG.reshape(-1).astype(np.uint8))
        kinds.append(labels.kind_GG.reshape(-1).astype(np.uint8))
        line = json.dumps(_texts(spec, index, scene), separators=(",", ":"))
        lines.append(f"{line}\n".encode())
    return (np.stack(images), np.stack(colors), np.stack(kinds)), lines


def _chunks(
    spec: StoreSpec, num_workers: int
) -> Iterator[tuple[tuple[np.ndarray, ...], list[bytes]]]:
    starts = range(0, spec.num_scenes, _CHUNK)
    make = functools.partial(_chunk, spec)
    if min(num_workers, len(starts)) == 1:
        yield from map(make, starts)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(num_workers, len(starts))) as pool:
        yield from pool.imap(make, starts)


def _write(
    spec: StoreSpec, folder: pathlib.Path, num_workers: int, report: Callable[[int], None]
) -> None:
    lengths: list[int] = []
    with contextlib.ExitStack() as stack:
        # Plain writes: where the disk is full, a map of a file ends the process by a signal.
        texts, *arrays = (
            stack.enter_context((folder / name).open("wb"))
            for name in ("texts.jsonl", *(f"{name}.npy" for name in _ARRAYS))
        )
        for parts, lines in _chunks(spec, num_workers):
            for file, part in zip(arrays, parts, strict=True):
                if not lengths:
                    _write_header(file, part.dtype, (spec.num_scenes, *part.shape[1:]))
                file.write(part.tobytes())
            texts.writelines(lines)
            lengths += map(len, lines)
            report(len(lengths))
    np.save(folder / "line_ends.npy", np.cumsum(lengths, dtype=np.int64))


def _write_header(file: IO[bytes], dtype: np.dtype, shape: tuple[int, ...]) -> None:
    descr = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def open_store(
    spec: StoreSpec,
    cache: pathlib.Path,
    *,
    num_workers: int = 0,
    report: Callable[[int], None] = lambda done: None,
) -> SceneStore:
    """Open a store from `cache`, making it first where it is not there.

    Processes that open the same one at once take turns: the first draws it.

    Args:
        spec: what it holds.
        cache: folder of all stores.
        num_workers: processes that draw; 0 is one per core.
        report: called with the number of scenes done.

    Raises:
        DataError: they cannot be written; nothing is left of them.
    """
    folder = cache / spec.key
    if not folder.is_dir():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with one_writer(folder) as held:
                if held:
                    remove_unfinished(folder)
                if not folder.is_dir():
                    with atomic_folder(folder, overwrite=False) as temporary:
                        _write(spec, temporary, num_workers or os.cpu_count() or 1, report)
        except OSError as error:
            bytes_each = 3 * spec.image_size**2 + 2 * spec.grid_size**2
            raise DataError(
                f"{spec.num_scenes} {spec.split} scenes cannot be drawn into {cache} "
                f"({error.strerror or error}); their pictures alone take "
                f"{spec.num_scenes * bytes_each / 1e6:.3g} MB: make room there, raise the limit "
                "on the size of a file, or set the data set's `root` to another folder"
            ) from error
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
    return SceneStore(
        **arrays,
        lines_u8=np.memmap(folder / "texts.jsonl", dtype=np.uint8, mode="r"),
        line_ends=np.load(folder / "line_ends.npy"),
    )
