"""Built sets of scenes: arrays and questions, in memory or in a folder."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from .captions import TASKS, Example, text_example
from .labels import PatchLabels, patch_labels
from .questions import Question, ask_questions
from .render import render
from .rng import Rng, stream_key
from .sampling import sample_scene
from .scene import Scene

_FORMAT = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SceneExamples:
    """One scene with everything that is asked of it.

    Args:
        scene: the scene graph.
        image_HWC: uint8 [size, size, 3].
        labels: dense targets of a grid.
        questions: up to `num_questions`, answers exact.
        texts: one example of each task that the scene has: caption, complete, match, entail.
    """

    scene: Scene
    image_HWC: np.ndarray
    labels: PatchLabels
    questions: tuple[Question, ...]
    texts: tuple[Example, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class QuestionRow:
    """A question and the scene it is asked of."""

    scene_index: int
    family: str
    text: str
    answer: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ScenesSplit:
    """A built split.

    Args:
        split, seed, first_index: what it was made from.
        images_NHWC: uint8 [num_scenes, size, size, 3].
        questions: rows ordered by `scene_index`, the row of `images_NHWC`.
    """

    split: str
    seed: int
    first_index: int
    images_NHWC: np.ndarray
    questions: tuple[QuestionRow, ...]


def scene_questions(
    scene: Scene, split: str, index: int, *, seed: int, num_questions: int = 8
) -> list[Question]:
    """The questions of scene `index`."""
    rng = Rng(stream_key(seed, split, index, "questions"))
    return ask_questions(scene, rng, num_questions=num_questions)


def scene_examples(
    split: str, index: int, *, seed: int, num_questions: int = 8, size: int = 64, grid: int = 8
) -> SceneExamples:
    """Everything about scene `index` of a split; a pure function of its arguments."""
    scene = sample_scene(split, index, seed=seed)
    text_rng = Rng(stream_key(seed, split, index, "texts"))
    texts = (text_example(scene, text_rng, task) for task in TASKS)
    questions = scene_questions(scene, split, index, seed=seed, num_questions=num_questions)
    return SceneExamples(
        scene=scene,
        image_HWC=render(scene, size),
        labels=patch_labels(scene, grid),
        questions=tuple(questions),
        texts=tuple(text for text in texts if text is not None),
    )


def build_split(
    split: str,
    num_scenes: int,
    questions_per_scene: int,
    *,
    seed: int,
    size: int = 64,
    first_index: int = 0,
) -> ScenesSplit:
    """Scenes `first_index` up to `first_index + num_scenes` with their questions.

    Args:
        split: train, val or test.
        num_scenes: how many.
        questions_per_scene: at most this many for each.
        seed: of the whole set.
        size: pixels along one side.
        first_index: where to begin; another range is another, disjoint set.
    """
    images_NHWC = np.empty((num_scenes, size, size, 3), dtype=np.uint8)
    rows: list[QuestionRow] = []
    for row in range(num_scenes):
        index = first_index + row
        scene = sample_scene(split, index, seed=seed)
        images_NHWC[row] = render(scene, size)
        asked = scene_questions(scene, split, index, seed=seed, num_questions=questions_per_scene)
        rows += (
            QuestionRow(scene_index=row, family=q.family, text=q.text, answer=q.answer)
            for q in asked
        )
    images_NHWC.setflags(write=False)
    return ScenesSplit(
        split=split,
        seed=seed,
        first_index=first_index,
        images_NHWC=images_NHWC,
        questions=tuple(rows),
    )


def save_split(data: ScenesSplit, folder: str | Path) -> None:
    """Write `images.npy`, `questions.jsonl` and `about.json`; the folder appears whole or not.

    Raises:
        FileExistsError: `folder` is there already.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} exists already; choose another folder or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        part.chmod(0o755)
        with open(part / "images.npy", "wb") as file:
            np.save(file, data.images_NHWC, allow_pickle=False)
            _sync(file)
        with open(part / "questions.jsonl", "w", encoding="utf-8") as file:
            file.writelines(json.dumps(dataclasses.asdict(row)) + "\n" for row in data.questions)
            _sync(file)
        about = {"format": _FORMAT, "split": data.split, "seed": data.seed}
        with open(part / "about.json", "w", encoding="utf-8") as file:
            json.dump({**about, "first_index": data.first_index}, file)
            _sync(file)
        os.rename(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def load_split(folder: str | Path) -> ScenesSplit:
    """Read what `save_split` wrote; the images stay on disk, memory-mapped and read-only.

    Raises:
        ValueError: the folder was written in another format.
    """
    folder = Path(folder)
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    if about.get("format") != _FORMAT:
        raise ValueError(
            f"{folder} has format {about.get('format')!r}; need {_FORMAT}: build it again"
        )
    images_NHWC = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    with open(folder / "questions.jsonl", encoding="utf-8") as file:
        questions = tuple(QuestionRow(**json.loads(line)) for line in file)
    return ScenesSplit(
        split=about["split"],
        seed=about["seed"],
        first_index=about["first_index"],
        images_NHWC=images_NHWC,
        questions=questions,
    )
