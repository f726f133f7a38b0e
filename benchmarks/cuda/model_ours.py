"""The whole model by our engine: one call from arrays of the host to ids."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from model_inputs import ModelInputs
from work import ANSWER_TOKENS, Floats, Ids, Inputs

__all__ = ["OurModel"]


class OurModel:
    """An engine of one precision, for batches up to the largest."""

    def __init__(self, module: ModuleType, model: ModelInputs, precision: str, most: int) -> None:
        self._engine = module.CudaEngine(
            model.config.to_dict(), model.weights, precision=precision, max_batch=most
        )
        self._budget = model.config.fusion.num_latents

    def answer(self, inputs: Inputs) -> Ids:
        """Ids (B, 2), 0 after the end."""
        texts = list(inputs.text_BL)
        _, answers = self._engine.answer(inputs.image_BHW3, texts, self._budget, ANSWER_TOKENS)
        ids_BA = np.zeros((len(texts), ANSWER_TOKENS), dtype=np.int32)
        for ids_A, (ids, _) in zip(ids_BA, answers, strict=True):
            ids_A[: len(ids)] = ids
        return ids_BA

    def times(self, inputs: Inputs) -> tuple[float, float]:
        """Seconds of one call on the device, and of asking for its graph."""
        self._engine.set_timed(True)
        try:
            self.answer(inputs)
        finally:
            self._engine.set_timed(False)
        times = self._engine.last_times()
        return times["device_ms"] / 1e3, times["launch_ms"] / 1e3

    def logits(self, inputs: Inputs) -> Floats:
        """(B, 2, V), for the reference's ids."""
        f_BND, _ = self._engine.encode_images(inputs.image_BHW3, self._budget)
        rows = zip(f_BND, inputs.text_BL, inputs.answer_BA, strict=True)
        return np.stack([self._engine.logits(*row) for row in rows])
