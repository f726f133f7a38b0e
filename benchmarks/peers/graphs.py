"""Contestants that run the three ONNX graphs, whatever runs them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from work import GRAPHS, Floats, Ids, Task, forced, greedy

__all__ = ["GraphContestant", "calibration"]

# Inputs by name to outputs by name.
Call = Callable[..., dict[str, np.ndarray]]


def _fused(text: Call, f: Floats, text_BL: Ids) -> dict[str, np.ndarray]:
    """The decoder's inputs besides ids: keys and values of the fused tokens, and of no known id."""
    outputs = text(f_BND=f, text_BL=text_BL)
    fused = {
        name.replace("present", "past_key_values"): value
        for name, value in outputs.items()
        if name.startswith("present")
    }
    return fused | {
        name.replace("encoder", "decoder"): value[:, :, :0].copy() for name, value in fused.items()
    }


class GraphContestant:
    """Three calls that take the graphs' inputs by name."""

    def __init__(self, calls: dict[str, Call], batch_size: int) -> None:
        self._image, self._text, self._decoder = (calls[name] for name in GRAPHS)
        self._batch_size = batch_size

    def encode(self, image_BHW3: Floats) -> Floats:
        return self._image(image_BHW3=image_BHW3)["f_BND"]

    def answer(self, f: Floats, text_BL: Ids) -> Ids:
        fused = _fused(self._text, f, text_BL)
        return greedy(
            lambda ids: self._decoder(answer_BA=ids, **fused)["logits_BAV"], self._batch_size, 0
        )

    def logits(self, f: Floats, text_BL: Ids, answer_BA: Ids) -> Floats:
        fused = _fused(self._text, f, text_BL)
        return self._decoder(answer_BA=forced(answer_BA, 0), **fused)["logits_BAV"]


def calibration(task: Task, calls: dict[str, Call]) -> dict[str, list[dict[str, np.ndarray]]]:
    """Inputs of each graph for a quantiser, from float32 calls."""
    samples: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in GRAPHS}
    for image, text in zip(*task.calibration(), strict=True):
        samples["image_encoder"].append({"image_BHW3": image})
        f = calls["image_encoder"](image_BHW3=image)["f_BND"]
        samples["text_fusion"].append({"f_BND": f, "text_BL": text})
        fused = _fused(calls["text_fusion"], f, text)
        ids = np.zeros((len(text), 2), dtype=np.int32)
        logits = calls["decoder"](answer_BA=ids, **fused)["logits_BAV"]
        ids[:, 1] = logits[:, 0].argmax(-1)
        samples["decoder"].append({"answer_BA": ids} | fused)
    return samples
