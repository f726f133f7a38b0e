"""The whole model's inputs, weights and truth: those of `peers.py`, for the largest batch, cut."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from reference import inputs_of, open_reference
from work import Floats, Ids, Inputs

from tokenfuse_sdk.config import ModelConfig

__all__ = ["ModelInputs", "equal_answers", "prepare_model"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelInputs:
    """A model and what is asked of it.

    Attributes:
        config, weights: float16 where that holds them exactly.
        inputs: of the largest batch, with the float32 reference's logits and ids.
    """

    config: ModelConfig
    weights: dict[str, np.ndarray]
    inputs: Inputs

    def batch(self, size: int) -> Inputs:
        """The first of them."""
        fields = dataclasses.asdict(self.inputs)
        end_id = fields.pop("end_id")
        return Inputs(**{name: rows[:size] for name, rows in fields.items()}, end_id=end_id)


def prepare_model(name: str, batch_size: int) -> ModelInputs:
    """A size with random weights, or a bundle; the reference runs on the CPU.

    Raises:
        TokenfuseError: there is no such model.
    """
    model, source, _ = open_reference(name)
    weights = {key: value.numpy() for key, value in model.state_dict().items()}
    halves = {key: value.astype(np.float16) for key, value in weights.items()}
    exact = all(np.array_equal(halves[key], value) for key, value in weights.items())
    with torch.inference_mode():
        inputs = Inputs(**inputs_of(model, source("test"), batch_size))
    return ModelInputs(config=model.config, weights=halves if exact else weights, inputs=inputs)


def equal_answers(inputs: Inputs, answer_BA: Ids, logits_BAV: Floats) -> int:
    """How many answers are the reference's; the others must be near ties.

    Args:
        answer_BA: what a contestant generated.
        logits_BAV: its own logits for the reference's ids: how far it is off is what a tie may
            be wide.

    Raises:
        ValueError: an id is one that the contestant's own error does not explain.
    """
    slack = 2 * inputs.error_of(logits_BAV)[0]
    equal = 0
    for b, (got, want) in enumerate(zip(answer_BA, inputs.answer_BA, strict=True)):
        differing = np.flatnonzero(got != want)
        if not len(differing):
            equal += 1
            continue
        # Behind the first that differs it answers something else.
        a = int(differing[0])
        row = inputs.logits_BAV[b, a]
        if not row[want[a]] - row[got[a]] <= slack:
            raise ValueError(
                f"answer {b} has id {got[a]} at place {a}, {row[want[a]] - row[got[a]]:.3g} below "
                f"the reference's {want[a]} in its logits, where {slack:.3g} is explained"
            )
    return equal
