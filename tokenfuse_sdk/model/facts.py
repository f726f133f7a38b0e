"""What a model knows of itself: all that calls need of a bundle once its weights are packed."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
from numpy.typing import NDArray

from tokenfuse_sdk.bundle import Bundle
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import NotFiniteError, TokenBudgetError
from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_sdk.results import ModelInfo
from tokenfuse_sdk.runtime import Placement
from tokenfuse_sdk.runtime.protocol import Capabilities
from tokenfuse_sdk.tokenizer import Tokenizer

__all__ = ["Facts", "first_budget", "info_of"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A bundle without its weights and golden outputs, which need not stay in memory.

    Attributes:
        config: the model's shape.
        preprocess: how pictures become arrays.
        tokenizer: text to ids and back.
        path: the bundle.
        digest: sha256 of the weights file.
        card: the model card, Markdown.
        num_parameters: all of them.
        onnx_precisions, engines: what was built from the model and lies in the bundle.
    """

    config: ModelConfig
    preprocess: PreprocessConfig
    tokenizer: Tokenizer
    path: pathlib.Path
    digest: str
    card: str
    num_parameters: int
    onnx_precisions: tuple[str, ...]
    engines: tuple[str, ...]

    @classmethod
    def of(cls, bundle: Bundle) -> Facts:
        """Those of a bundle."""
        return cls(
            config=bundle.config,
            preprocess=bundle.preprocess,
            tokenizer=bundle.tokenizer,
            path=bundle.path,
            digest=bundle.digest,
            card=bundle.card,
            num_parameters=sum(array.size for array in bundle.weights.values()),
            onnx_precisions=bundle.onnx_precisions,
            engines=bundle.engine_names,
        )

    def check_finite(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the engine gave, as it is.

        Raises:
            NotFiniteError: it holds NaN or infinity.
        """
        if not np.isfinite(array).all():
            raise NotFiniteError(
                f"{self.config.name!r} gave NaN or infinity; its weights are damaged or were "
                "trained badly: run `tokenfuse doctor`, or make the bundle again"
            )
        return array


def first_budget(config: ModelConfig, engine: Capabilities, token_budget: int | None) -> int:
    """The budget of calls that do not say: the one asked for, or the largest that there is.

    Raises:
        TokenBudgetError: the model has it not, or the engine was not made for it.
    """
    there = engine.token_budgets
    budget = config.fusion.check_budget(token_budget, there[-1] if there else None)
    if there and budget not in there:
        raise TokenBudgetError(
            f"token_budget={budget}: the bundle's engines were built for "
            f"{', '.join(map(str, there))}; pass one of them, or build others with --budget of "
            "`tokenfuse build`"
        )
    return budget


def info_of(
    facts: Facts, placement: Placement, engine: Capabilities, token_budget: int
) -> ModelInfo:
    """What was loaded, and where it runs, for a user to read."""
    config = facts.config
    assert placement.precision is not None
    return ModelInfo(
        name=config.name,
        path=str(facts.path),
        weights_sha256=facts.digest,
        num_parameters=facts.num_parameters,
        image_size=config.vision.image_size,
        token_budgets=engine.token_budgets or config.fusion.token_budgets,
        token_budget=token_budget,
        max_question_tokens=config.text.max_tokens,
        max_answer_tokens=config.decoder.max_tokens,
        vocab_size=config.text.vocab_size,
        backend=placement.backend,
        device=placement.device,
        device_reason=placement.device_reason,
        precision=placement.precision,
        precision_reason=placement.precision_reason,
        isa=engine.isa,
        num_threads=engine.num_threads,
        onnx_precisions=facts.onnx_precisions,
        engines=facts.engines,
    )
