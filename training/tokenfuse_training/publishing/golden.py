"""What the float32 reference gives for a few inputs: the tensors of golden.safetensors."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from tokenfuse_sdk.preprocess import PreprocessConfig, preprocess
from tokenfuse_training.model import JointModel

__all__ = ["golden_outputs"]


@torch.no_grad()
def golden_outputs(
    model: JointModel,
    image_u8: NDArray[np.uint8],
    text_ids: NDArray[np.integer],
    answer_ids: NDArray[np.integer],
    config: PreprocessConfig,
) -> dict[str, np.ndarray]:
    """The inputs and the reference's float32 outputs at the full budget.

    Args:
        model: the reference.
        image_u8: (n, H, W, 3) pictures of any size.
        text_ids: (n, L) padded with 0.
        answer_ids: (n, A) without the start id, padded with 0.
        config: how pictures become the model's arrays.

    Returns:
        image_u8, text_ids and answer_ids as given; image_tokens float32 (n, N, D), fused_tokens
        float32 (n, N, T), logits float32 (n, A, V) under teacher forcing.
    """
    prepared = np.stack([preprocess(image_HW3, config) for image_HW3 in image_u8])
    text, answer = (torch.from_numpy(ids.astype(np.int64)) for ids in (text_ids, answer_ids))
    f_BND = model.encode_image(torch.from_numpy(prepared))
    fused_BNT, mask = model.fuse(f_BND, text)
    fed = torch.cat([torch.zeros_like(answer[:, :1]), answer[:, :-1]], dim=1)
    return {
        "image_u8": np.ascontiguousarray(image_u8),
        "text_ids": np.ascontiguousarray(text_ids, np.int32),
        "answer_ids": np.ascontiguousarray(answer_ids, np.int32),
        "image_tokens": f_BND.numpy(),
        "fused_tokens": fused_BNT.numpy(),
        "logits": model.decode(fed, fused_BNT, mask).numpy(),
    }
