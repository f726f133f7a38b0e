"""Ours: the runtime behind `tokenfuse_sdk.load`, opened with the precision by its front door.

The engine takes one picture and one question, so a batch is answered one after the other.
"""

from __future__ import annotations

import numpy as np
from work import ANSWER_TOKENS, Floats, Ids, Task

PACKAGES = ("tokenfuse_sdk", "safetensors")
QUANTISERS = ()
GRAPHS_NEEDED = False


def precisions() -> tuple[str, ...]:
    """What this version offers on a CPU."""
    from tokenfuse_sdk.runtime import native_cpu

    return native_cpu.PRECISIONS


def prepare(task: Task) -> None:
    """Nothing: weights are packed when the engine opens."""


class _Tokenfuse:
    def __init__(self, task: Task) -> None:
        from safetensors.numpy import load_file

        from tokenfuse_sdk.config import ModelConfig
        from tokenfuse_sdk.runtime import open_runtime, place

        config = ModelConfig.from_dict(task.config())
        self._budget = config.fusion.num_latents
        placement = place("cpu", task.precision, task.num_threads)
        self._runtime = open_runtime(config, load_file(task.weights_path), placement)
        assert self._runtime.capabilities.precision == task.precision

    def encode(self, image_BHW3: Floats) -> list[Floats]:
        return [self._runtime.encode_image(image, self._budget) for image in image_BHW3]

    def answer(self, f: list[Floats], text_BL: Ids) -> Ids:
        rows = [
            self._runtime.generate(f_ND, text, ANSWER_TOKENS)[0]
            for f_ND, text in zip(f, text_BL, strict=True)
        ]
        if any(len(row) != ANSWER_TOKENS for row in rows):
            raise RuntimeError("an answer ended before its second step; the times say nothing")
        return np.stack(rows)

    def logits(self, f: list[Floats], text_BL: Ids, answer_BA: Ids) -> Floats:
        together = zip(f, text_BL, answer_BA, strict=True)
        return np.stack([self._runtime.logits(*row) for row in together])


def open_contestant(task: Task) -> _Tokenfuse:
    return _Tokenfuse(task)
