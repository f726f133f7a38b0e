"""The float32 reference, asked like any runtime; it knows no cache and pads nothing."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tokenfuse_sdk.runtime.protocol import FloatArray, IdArray
from tokenfuse_training.model import JointModel

__all__ = ["TorchRuntime"]


def _ids(array: IdArray) -> Tensor:
    return torch.from_numpy(array.astype(np.int64))[None]


class TorchRuntime:
    """The parts of `Runtime` that are compared, without gradients."""

    def __init__(self, model: JointModel) -> None:
        self._model = model
        # What was fused last, for it is asked for several times and takes most of the time.
        self._asked: tuple[bytes, bytes] | None = None
        self._answer: tuple[Tensor, Tensor | None] | None = None

    @torch.no_grad()
    def encode_image(self, image_HW3: FloatArray, token_budget: int) -> FloatArray:
        f_BND = self._model.encode_image(torch.from_numpy(image_HW3)[None], token_budget)
        return f_BND[0].numpy()

    @torch.no_grad()
    def fuse(self, f_ND: FloatArray, text_ids: IdArray) -> FloatArray:
        return self._fused(f_ND, text_ids)[0][0].numpy()

    @torch.no_grad()
    def logits(self, f_ND: FloatArray, text_ids: IdArray, answer_ids: IdArray) -> FloatArray:
        fed = np.concatenate([np.full(1, self._model.config.start_id), answer_ids[:-1]])
        fused, mask = self._fused(f_ND, text_ids)
        return self._model.decode(_ids(fed), fused, mask)[0].numpy()

    @torch.no_grad()
    def generate(
        self, f_ND: FloatArray, text_ids: IdArray, max_tokens: int
    ) -> tuple[IdArray, FloatArray]:
        """Greedy; each step computes the whole answer anew, and so do the log-probabilities."""
        ids = self._model.write(*self._fused(f_ND, text_ids), max_tokens)[0]
        written = ids.numpy().astype(np.int32)
        logits_AV = torch.from_numpy(self.logits(f_ND, text_ids, written)).double()
        log_probs = logits_AV.log_softmax(-1).gather(1, ids[:, None])[:, 0]
        return written, log_probs.numpy().astype(np.float32)

    def _fused(self, f_ND: FloatArray, text_ids: IdArray) -> tuple[Tensor, Tensor | None]:
        asked = f_ND.tobytes(), text_ids.tobytes()
        if self._answer is None or asked != self._asked:
            f_BND = torch.from_numpy(f_ND)[None]
            self._answer = self._model.fuse(f_BND, _ids(text_ids), len(f_ND))
            self._asked = asked
        return self._answer
