"""Ours: the runtime behind `tokenfuse_sdk.load`, opened with the precision by its front door.

The engine takes one picture and one question, so a batch is answered one after the other.
"""

from __future__ import annotations

import numpy as np
from work import ANSWER_TOKENS, Floats, Ids, Task

PACKAGES = ("tokenfuse_sdk",)
QUANTISERS = ()
GRAPHS_NEEDED = False


def settings(variant: str, precision: str) -> str:
    """What it runs with, in a line."""
    return "one engine, weights packed at load; a batch is answered picture by picture"


def precisions() -> tuple[str, ...]:
    """What this version offers on a CPU."""
    from tokenfuse_sdk.runtime import native_cpu

    return native_cpu.PRECISIONS


def prepare(task: Task) -> None:
    """Nothing: weights are packed when the engine opens."""


class _Tokenfuse:
    def __init__(self, task: Task) -> None:
        from tokenfuse_sdk.bundle.weights_file import mapped_weights
        from tokenfuse_sdk.config import ModelConfig
        from tokenfuse_sdk.mapped_file import map_plain_file
        from tokenfuse_sdk.runtime import open_runtime, place
        from tokenfuse_sdk.weights import expected_tensors

        config = ModelConfig.from_dict(task.config())
        self._budget, self._pad_id = config.fusion.num_latents, config.pad_id
        placement = place("cpu", task.precision, task.num_threads)
        # As a bundle's: hashed, mapped and verified.
        file = map_plain_file(task.weights_path, max_bytes=8 << 30)
        weights = mapped_weights(file, expected_tensors(config))
        self._runtime = open_runtime(config, weights, placement)
        assert self._runtime.capabilities.precision == task.precision

    def encode(self, image_BHW3: Floats) -> list[Floats]:
        return [self._runtime.encode_image(image, self._budget) for image in image_BHW3]

    def answer(self, f: list[Floats], text_BL: Ids) -> Ids:
        ids_BA = np.zeros((len(text_BL), ANSWER_TOKENS), dtype=np.int32)
        for f_ND, text_L, ids_A in zip(f, text_BL, ids_BA, strict=True):
            # The engine takes a text as long as it is, and stops at the end of an answer.
            ids, _ = self._runtime.generate(f_ND, text_L[text_L != self._pad_id], ANSWER_TOKENS)
            ids_A[: len(ids)] = ids
        return ids_BA

    def logits(self, f: list[Floats], text_BL: Ids, answer_BA: Ids) -> Floats:
        together = zip(f, text_BL, answer_BA, strict=True)
        return np.stack([self._runtime.logits(*row) for row in together])


def open_contestant(task: Task) -> _Tokenfuse:
    return _Tokenfuse(task)
