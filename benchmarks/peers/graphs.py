"""Contestants that run the three ONNX graphs, whatever runs them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from work import GRAPHS, Floats, Ids, Task, forced, greedy

__all__ = ["GraphContestant", "calibration"]

Call = Callable[..., np.ndarray]


class GraphContestant:
    """Three calls that take the graphs' inputs by name."""

    def __init__(self, calls: dict[str, Call], batch_size: int) -> None:
        self._image, self._text, self._decoder = (calls[name] for name in GRAPHS)
        self._batch_size = batch_size

    def encode(self, image_BHW3: Floats) -> Floats:
        return self._image(image_BHW3=image_BHW3)

    def answer(self, f: Floats, text_BL: Ids) -> Ids:
        fused = self._text(f_BND=f, text_BL=text_BL)
        return greedy(
            lambda ids: self._decoder(answer_BA=ids, fused_BNT=fused), self._batch_size, 0
        )

    def logits(self, f: Floats, text_BL: Ids, answer_BA: Ids) -> Floats:
        fused = self._text(f_BND=f, text_BL=text_BL)
        return self._decoder(answer_BA=forced(answer_BA, 0), fused_BNT=fused)


def calibration(task: Task, calls: dict[str, Call]) -> dict[str, list[dict[str, np.ndarray]]]:
    """Inputs of each graph for a quantiser, from float32 calls."""
    samples: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in GRAPHS}
    for image, text in zip(*task.calibration(), strict=True):
        samples["image_encoder"].append({"image_BHW3": image})
        f = calls["image_encoder"](image_BHW3=image)
        samples["text_fusion"].append({"f_BND": f, "text_BL": text})
        fused = calls["text_fusion"](f_BND=f, text_BL=text)
        ids = np.zeros((len(text), 2), dtype=np.int32)
        ids[:, 1] = calls["decoder"](answer_BA=ids, fused_BNT=fused)[:, 0].argmax(-1)
        samples["decoder"].append({"answer_BA": ids, "fused_BNT": fused})
    return samples
