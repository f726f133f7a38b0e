"""Batches from a tokenised store, in an order that depends on seed and step alone.

Shapes: B pictures, Q texts (each of one picture), L text tokens, A answer tokens.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_training.data import collate
from tokenfuse_training.data.store import SceneStore, TextTable
from tokenfuse_training.recipes.recipe import Stage

__all__ = ["Batch", "TextBatch", "draw_batch", "normalise"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TextBatch:
    """Texts with their answers; `image_index_Q` says of which picture of the batch.

    `family_Q` indexes `families`: what kind of text each one is.
    """

    image_index_Q: Tensor
    family_Q: Tensor
    families: tuple[str, ...]
    text_QL: Tensor
    answer_QA: Tensor

    @property
    def decoder_input_QA(self) -> Tensor:
        """The answers shifted right behind the start id 0."""
        return torch.cat([torch.zeros_like(self.answer_QA[:, :1]), self.answer_QA[:, :-1]], dim=1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Pictures (`scene_B` are their rows in the store), patch labels, and texts of each kind.

    `image_BHW3` is None in a stage whose image side stands still: it looks at merged tokens.
    """

    scene_B: np.ndarray
    image_BHW3: Tensor | None
    patch_color_BS: Tensor
    patch_kind_BS: Tensor
    questions: TextBatch | None
    descriptions: TextBatch | None
    stones: TextBatch | None


def normalise(image_u8_BHW3: np.ndarray) -> Tensor:
    """`collate.normalise` of scenes."""
    config = PreprocessConfig(image_size=image_u8_BHW3.shape[1])
    return collate.normalise(torch.from_numpy(np.array(image_u8_BHW3)), config)


def _draw_texts(
    table: TextTable,
    scenes_B: np.ndarray,
    count: int,
    rng: np.random.Generator,
    family_weights: tuple[tuple[str, float], ...] = (),
) -> TextBatch | None:
    if not count:
        return None
    num_scenes, per_scene = scenes_B.shape[0], table.text.shape[1]
    weights = dict(family_weights)
    rate_F = np.array([weights.get(name, 1.0) for name in table.families])
    # Distinct texts of a scene, drawn by weight: the first arrivals of exponential clocks.
    arrival_BK = rng.exponential(size=(num_scenes, per_scene)) / rate_F[table.family[scenes_B]]
    chosen_BQ = np.argsort(arrival_BK, axis=1)[:, :count]
    scene_Q = np.repeat(scenes_B, count)
    chosen_Q = chosen_BQ.reshape(-1)
    return TextBatch(
        image_index_Q=torch.arange(num_scenes).repeat_interleave(count),
        family_Q=torch.from_numpy(table.family[scene_Q, chosen_Q].astype(np.int64)),
        families=table.families,
        text_QL=torch.from_numpy(table.text[scene_Q, chosen_Q].astype(np.int64)),
        answer_QA=torch.from_numpy(table.answer[scene_Q, chosen_Q].astype(np.int64)),
    )


def draw_batch(store: SceneStore, stage: Stage, *, seed: int, step: int) -> Batch:
    """The batch of a step: distinct scenes, then distinct texts of each."""
    rng = np.random.Generator(np.random.Philox(key=[seed, step]))
    scenes_B = rng.choice(store.num_scenes, size=stage.images, replace=False)
    return Batch(
        scene_B=scenes_B,
        image_BHW3=None if stage.frozen_image else normalise(store.images_u8[scenes_B]),
        patch_color_BS=torch.from_numpy(store.patch_color[scenes_B].astype(np.int64)),
        patch_kind_BS=torch.from_numpy(store.patch_kind[scenes_B].astype(np.int64)),
        questions=_draw_texts(
            store.questions, scenes_B, stage.questions, rng, stage.family_weights
        ),
        descriptions=_draw_texts(store.descriptions, scenes_B, stage.descriptions, rng),
        stones=_draw_texts(store.stones, scenes_B, stage.stones, rng),
    )
