"""How large the inputs of a model's linears become on calibration data.

Measured in PyTorch, in float32: the same numbers serve every graph that is made of the model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tokenfuse_export.calibration import Calibration
from tokenfuse_training.model import JointModel

__all__ = ["input_ranges"]

_PAIRS_AT_ONCE = 8
# The words of an answer and its end; what comes later looks like that.
_MOST_ANSWER_TOKENS = 8


def input_ranges(model: JointModel, calibration: Calibration) -> dict[str, float]:
    """Name of every linear to the largest absolute value that enters it.

    Questions are asked at the largest and the smallest budget, and answered greedily.
    """
    budgets = {model.config.fusion.token_budgets[0], model.config.fusion.token_budgets[-1]}
    most = min(_MOST_ANSWER_TOKENS, model.config.decoder.max_tokens)
    ranges: dict[str, float] = {}
    with torch.no_grad(), _watched(model, ranges):
        for first in range(0, len(calibration.text_CL), _PAIRS_AT_ONCE):
            rows = slice(first, first + _PAIRS_AT_ONCE)
            image_BHW3 = torch.from_numpy(calibration.image_CHW3[rows])
            text_BL = torch.from_numpy(calibration.text_CL[rows])
            f_BND = model.encode_image(image_BHW3)
            for budget in budgets:
                model.generate(f_BND[:, :budget], text_BL, budget, max_tokens=most)
    return ranges


@contextlib.contextmanager
def _watched(model: nn.Module, ranges: dict[str, float]) -> Iterator[None]:
    hooks = [
        module.register_forward_pre_hook(_noting(name, ranges))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _noting(name: str, ranges: dict[str, float]):  # type: ignore[no-untyped-def]
    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        ranges[name] = max(ranges.get(name, 0.0), float(inputs[0].abs().max()))

    return note
