"""From a checkpoint to a bundle: half-precision weights, golden outputs, model card."""

from __future__ import annotations

import numpy as np
import torch

from tokenfuse_sdk.config import ModelConfig
from tokenfuse_training.data.batches import normalise
from tokenfuse_training.data.store import SceneStore
from tokenfuse_training.model import JointModel

__all__ = ["golden_tensors", "half_precision_weights", "model_from_weights"]


def half_precision_weights(model: JointModel) -> dict[str, np.ndarray]:
    """The weights rounded to float16, name to array; what a shipped bundle holds.

    Raises:
        OverflowError: a weight is beyond float16's largest value, 65,504.
    """
    weights = {}
    for name, tensor in model.state_dict().items():
        half = tensor.detach().cpu().to(torch.float16)
        if not bool(torch.isfinite(half).all()):
            raise OverflowError(f"{name} does not fit float16; store this model as float32")
        weights[name] = half.numpy()
    return weights


def model_from_weights(config: ModelConfig, weights: dict[str, np.ndarray]) -> JointModel:
    """The float32 reference of stored weights: what every runtime is compared with."""
    model = JointModel(config)
    model.load_state_dict(
        {name: torch.from_numpy(array.astype(np.float32)) for name, array in weights.items()}
    )
    return model.eval()


@torch.no_grad()
def golden_tensors(model: JointModel, store: SceneStore, *, count: int) -> dict[str, np.ndarray]:
    """Inputs and the reference's float32 outputs for the first question of `count` scenes.

    Returns:
        image_u8 (n, H, W, 3), text_ids int32 (n, L) padded with 0, answer_ids
        int32 (n, A) without the start id, image_tokens float32 (n, N, D),
        logits float32 (n, A, V) under teacher forcing; all at the full budget.
    """
    image_u8 = np.ascontiguousarray(store.images_u8[:count])
    text = torch.from_numpy(store.questions.text[:count, 0].astype(np.int64))
    answer = torch.from_numpy(store.questions.answer[:count, 0].astype(np.int64))
    f_BND = model.encode_image(normalise(image_u8))
    fused, mask = model.fuse(f_BND, text)
    shifted = torch.cat([torch.zeros_like(answer[:, :1]), answer[:, :-1]], dim=1)
    return {
        "image_u8": image_u8,
        "text_ids": text.numpy().astype(np.int32),
        "answer_ids": answer.numpy().astype(np.int32),
        "image_tokens": f_BND.numpy(),
        "logits": model.decode(shifted, fused, mask).numpy(),
    }
