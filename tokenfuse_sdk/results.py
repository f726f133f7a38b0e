"""What a model gives back: frozen, and plain JSON types on `to_dict()` where that makes sense."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answer", "ModelInfo", "Score", "Timings", "TokenMap"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Wall time of one call in milliseconds; a part that was not needed is 0.

    Attributes:
        preprocess_ms: reading, decoding and resizing the picture.
        encode_image_ms: picture to image tokens; 0 on a GPU and with another backend than the
            native one, which do both at once.
        generate_ms: question to answer, given the image tokens; there, from the picture.
        total_ms: the whole call, tokenising included.
    """

    preprocess_ms: float
    encode_image_ms: float
    generate_ms: float
    total_ms: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A generated text and how sure the model was.

    Attributes:
        text: the answer, without special tokens.
        confidence: product of the probabilities of the chosen tokens, the end
            included; 0 to 1. It is the model's own belief, not a calibrated one.
        question: as it was asked.
        token_budget: N, the image and text latents that were in use.
        num_tokens: generated tokens, the end included.
        complete: False when `max_tokens` came before the end of the answer.
        unknown_words: words of the question that the model has no token for;
            it read each as "unknown", so be careful with the answer.
        timings: where the time went.
    """

    text: str
    confidence: float
    question: str
    token_budget: int
    num_tokens: int
    complete: bool
    unknown_words: tuple[str, ...]
    timings: Timings

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**dataclasses.asdict(self), "unknown_words": list(self.unknown_words)}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How likely one candidate is.

    Attributes:
        text: the candidate.
        log_prob: natural logarithm of the probability that the model writes
            exactly this and then ends.
        probability: `softmax` of `log_prob` over the candidates of the call.
        unknown_words: words of the candidate that the model has no token for: all of them
            are one to it, so the numbers mean little.
    """

    text: str
    log_prob: float
    probability: float
    unknown_words: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenMap:
    """Which patch fed which image token.

    Attributes:
        weights: (N, G, G) float32, read-only: the attention of token n on the
            patch in row i, column j of the prepared (square) picture, mean over
            heads. The sum over a token's patches is 1, less what a class token took.
    """

    weights: NDArray[np.float32]

    @property
    def num_tokens(self) -> int:
        """N."""
        return int(self.weights.shape[0])

    @property
    def grid_size(self) -> int:
        """G: patches along one side."""
        return int(self.weights.shape[1])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What was loaded, and where it runs.

    Attributes:
        name: the model's name.
        path: its bundle.
        weights_sha256: of `model.safetensors`.
        num_parameters: all of them.
        image_size: pixels along one side of the prepared picture.
        token_budgets: the values that `token_budget` may have.
        token_budget: the default of this model.
        max_question_tokens: longest text, task prefix and end included.
        max_answer_tokens: longest answer, the end included.
        vocab_size: tokens that the model knows.
        backend: whose code computes.
        device: where it runs.
        device_reason: why it runs there.
        precision: of the arithmetic.
        precision_reason: why this one, with what the bundle records of it.
        isa: instruction set of the kernels, "" where that means nothing.
        num_threads: that one call uses; 0 on a GPU.
        onnx_precisions: of the ONNX graphs that the bundle has.
        engines: target and precision of the engines that it has, as "sm_86-fp16".
    """

    name: str
    path: str
    weights_sha256: str
    num_parameters: int
    image_size: int
    token_budgets: tuple[int, ...]
    token_budget: int
    max_question_tokens: int
    max_answer_tokens: int
    vocab_size: int
    backend: str
    device: str
    device_reason: str
    precision: str
    precision_reason: str
    isa: str
    num_threads: int
    onnx_precisions: tuple[str, ...]
    engines: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        facts = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in facts.items()}
