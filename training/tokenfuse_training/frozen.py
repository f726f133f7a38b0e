"""The merged tokens of a whole store, for stages in which the image side stands still.

They do not depend on the question, so one pass over the pictures serves every
later step. A budget is a prefix: each latent reads the picture on its own.
Shapes: B pictures, N latents, D width.
"""

from __future__ import annotations

import hashlib
import os
import pathlib

import numpy as np
import torch
from torch import nn

from tokenfuse_training.checkpoint import weights_digest
from tokenfuse_training.data.batches import normalise
from tokenfuse_training.data.store import SceneStore
from tokenfuse_training.model import JointModel

__all__ = ["image_side", "merged_tokens"]

_CHUNK = 256


def image_side(model: JointModel) -> nn.ModuleList:
    """All that a picture passes before a question is known.

    Raises:
        ValueError: the fusion keeps no merged tokens of a picture alone.
    """
    if model.config.fusion.kind != "joint_adaptive":
        raise ValueError(
            f"fusion kind {model.config.fusion.kind!r} merges image and text together; "
            "frozen_image needs joint_adaptive"
        )
    return nn.ModuleList([model.vision, model.image_projection, model.fusion.image_resampler])


def _digest(model: JointModel, store: SceneStore, *, bf16: bool) -> str:
    """Of all that the tokens depend on."""
    weights = weights_digest(image_side(model).state_dict())
    text = f"{store.spec.key} {weights} bf16={bf16}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@torch.no_grad()
def merged_tokens(
    model: JointModel,
    store: SceneStore,
    folder: pathlib.Path,
    *,
    bf16: bool = False,
) -> np.ndarray:
    """float16 (num_scenes, N, D) at the full budget, kept in `folder` under a hash.

    Args:
        model: whose image side to use.
        store: whose pictures.
        folder: of the cached file; other tokens are removed from it.
        bf16: matrix products in bfloat16.
    """
    path = folder / f"image-tokens-{_digest(model, store, bf16=bf16)}.npy"
    if path.exists():
        return np.load(path, mmap_mode="r")
    for old in folder.glob("image-tokens-*"):
        old.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    device = next(model.parameters()).device
    fusion = model.config.fusion
    shape = (store.num_scenes, fusion.num_latents, fusion.width)
    temporary = path.with_suffix(".tmp")
    tokens = np.lib.format.open_memmap(temporary, "w+", dtype=np.float16, shape=shape)
    for start in range(0, store.num_scenes, _CHUNK):
        image_BHW3 = normalise(store.images_u8[start : start + _CHUNK]).to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            f_BND = model.encode_image(image_BHW3)
        tokens[start : start + len(f_BND)] = f_BND.to(torch.float16).cpu().numpy()
    tokens.flush()
    os.replace(temporary, path)
    return np.load(path, mmap_mode="r")
