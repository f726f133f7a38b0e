"""Built sets of scenes: arrays and questions, in memory."""

from __future__ import annotations

import dataclasses

import numpy as np

from .captions import TASKS, Example, text_example
from .labels import PatchLabels, patch_labels
from .questions import Question, ask_questions
from .render import render
from .rng import Rng, stream_key
from .sampling import sample_scene
from .scene import Scene


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
