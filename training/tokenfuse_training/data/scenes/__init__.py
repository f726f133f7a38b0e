"""Scenes: coloured shapes and handwritten digits with questions, captions and labels."""

from __future__ import annotations

from .captions import TASKS, Example, caption, text_example
from .dataset import (
    QuestionRow,
    SceneExamples,
    ScenesSplit,
    build_split,
    scene_examples,
    scene_questions,
)
from .labels import NUM_COLOR_LABELS, NUM_KIND_LABELS, PatchLabels, patch_labels
from .questions import FAMILIES, Question, ask_questions
from .render import render
from .rng import SPLITS, Rng, stream_key
from .sampling import sample_scene
from .scene import Background, Scene, SceneObject
from .vocabulary import COLORS, KINDS, SHAPES, build_tokenizer

__all__ = [
    "COLORS",
    "FAMILIES",
    "KINDS",
    "NUM_COLOR_LABELS",
    "NUM_KIND_LABELS",
    "SHAPES",
    "SPLITS",
    "TASKS",
    "Background",
    "Example",
    "PatchLabels",
    "Question",
    "QuestionRow",
    "Rng",
    "Scene",
    "SceneExamples",
    "SceneObject",
    "ScenesSplit",
    "ask_questions",
    "build_split",
    "build_tokenizer",
    "caption",
    "patch_labels",
    "render",
    "sample_scene",
    "scene_examples",
    "scene_questions",
    "stream_key",
    "text_example",
]
