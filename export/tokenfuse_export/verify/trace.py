"""What a runtime gives for one input at one budget, stage by stage, and what the reference gives.

Shapes: N image tokens, D fusion width, T text width, A answer ids, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tokenfuse_export.verify.inputs import GoldenInputs, Question
from tokenfuse_export.verify.torch_runtime import TorchRuntime
from tokenfuse_sdk.runtime.protocol import FloatArray, IdArray
from tokenfuse_training.model import JointModel

__all__ = ["STAGES", "Compared", "Reference", "Trace", "Wanted", "trace"]

# In the order in which a runtime computes them; each is fed with the one before.
STAGES = ("image_tokens", "fused_tokens", "logits")
# Ids of an answer below the full budget, where it is as long as the model takes it. The reference
# computes each anew: of `base` all of them at all budgets would take minutes.
_SHORT_ANSWER = 8


class Compared(Protocol):
    """The parts of `Runtime` that are compared."""

    def encode_image(self, image_HW3: FloatArray, token_budget: int) -> FloatArray: ...

    def fuse(self, f_ND: FloatArray, text_ids: IdArray) -> FloatArray: ...

    def logits(self, f_ND: FloatArray, text_ids: IdArray, answer_ids: IdArray) -> FloatArray: ...

    def generate(
        self, f_ND: FloatArray, text_ids: IdArray, max_tokens: int
    ) -> tuple[IdArray, FloatArray]: ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One input at one budget.

    Attributes:
        stages: `STAGES` to (N, D), (N, T) and (A, V), the last under teacher forcing.
        ids: the greedy answer.
        log_probs: of its ids, as it was written id by id.
        logits: of its ids, (A, V), all at once.
    """

    stages: dict[str, FloatArray]
    ids: IdArray
    log_probs: FloatArray
    logits: FloatArray


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The reference's trace, and of each id of its answer: how sure it was.

    Attributes:
        margins: the best logit less the second best.
        sizes: root mean square of the logits.
    """

    question: Question
    token_budget: int
    trace: Trace
    margins: NDArray[np.float64]
    sizes: NDArray[np.float64]


def trace(runtime: Compared, question: Question, token_budget: int, max_tokens: int) -> Trace:
    """Ask a runtime, each stage with what itself gave before."""
    text, answer = question.text_ids, question.answer_ids
    f_ND = runtime.encode_image(question.image_HW3, token_budget)
    stages = (f_ND, runtime.fuse(f_ND, text), runtime.logits(f_ND, text, answer))
    ids, log_probs = runtime.generate(f_ND, text, max_tokens)
    return Trace(
        stages=dict(zip(STAGES, stages, strict=True)),
        ids=ids,
        log_probs=log_probs,
        logits=runtime.logits(f_ND, text, ids),
    )


class Reference:
    """PyTorch's float32 traces of some inputs at every budget of the model.

    They are computed when they are first needed: not where nothing runs.
    """

    def __init__(self, model: JointModel, inputs: GoldenInputs) -> None:
        self._model, self._questions = model, inputs.questions()
        self.config, self.num_inputs = model.config, len(self._questions)
        self._runtime = TorchRuntime(model)

    @functools.cached_property
    def wanted(self) -> tuple[Wanted, ...]:
        was_training = self._model.training
        self._model.eval()
        try:
            return tuple(
                self._wanted(question, budget)
                for budget in self.config.fusion.token_budgets
                for question in self._questions
            )
        finally:
            self._model.train(was_training)

    def _wanted(self, question: Question, budget: int) -> Wanted:
        own = self._trace(self._runtime, question, budget)
        logits_AV = own.logits.astype(np.float64)
        second, best = np.sort(logits_AV, axis=1)[:, -2:].T
        return Wanted(
            question=question,
            token_budget=budget,
            trace=own,
            margins=best - second,
            sizes=np.sqrt(np.mean(logits_AV**2, axis=1)),
        )

    def _trace(self, runtime: Compared, question: Question, budget: int) -> Trace:
        most = self.config.decoder.max_tokens
        if budget != self.config.fusion.num_latents:
            most = min(most, _SHORT_ANSWER)
        return trace(runtime, question, budget, most)

    def pairs(
        self, runtime: Compared, token_budgets: Sequence[int]
    ) -> Iterator[tuple[Trace, Wanted]]:
        """What a runtime gives at some budgets beside what it should."""
        for wanted in self.wanted:
            if wanted.token_budget in token_budgets:
                yield self._trace(runtime, wanted.question, wanted.token_budget), wanted
