"""From image tokens and a question's ids to results."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tokenfuse_sdk.integers import checked_int
from tokenfuse_sdk.model.facts import Facts
from tokenfuse_sdk.model.pictures import Encoded, prepare
from tokenfuse_sdk.preprocess.decode import ImageSource
from tokenfuse_sdk.results import Answer, Score, Timings
from tokenfuse_sdk.runtime import BatchRuntime, Runtime

__all__ = ["answer_of", "checked_length", "score", "write", "write_at_once"]


def checked_length(facts: Facts, max_tokens: int | None) -> int:
    """The most tokens that an answer may have.

    Raises:
        ConfigError: none that the model can write.
    """
    most = facts.config.decoder.max_tokens
    return most if max_tokens is None else checked_int("max_tokens", max_tokens, 1, most)


def write(
    facts: Facts,
    runtime: Runtime,
    picture: Encoded,
    text_ids: NDArray[np.int32],
    *,
    question: str,
    max_tokens: int,
    began: float,
) -> Answer:
    """The answer, written greedily.

    Args:
        picture: at the budget of the call.
        text_ids: of the question and its prefix.
        question: as it was asked.
        max_tokens: checked.
        began: `time.perf_counter()` of the call.
    """
    ready = time.perf_counter()
    ids, log_probs = runtime.generate(picture.f_ND, text_ids, max_tokens)
    generate_ms = 1e3 * (time.perf_counter() - ready)
    return answer_of(facts, picture, ids, log_probs, question, generate_ms, began)


def write_at_once(
    facts: Facts,
    runtime: BatchRuntime,
    image: ImageSource,
    budget: int,
    text_ids: NDArray[np.int32],
    *,
    question: str,
    max_tokens: int,
    began: float,
) -> tuple[Answer, Encoded]:
    """As `write`, of a picture that is not encoded yet, in one call; and its tokens."""
    preparing = time.perf_counter()
    prepared_HW3 = prepare(facts, runtime, image)
    ready = time.perf_counter()
    f_ND, ids, log_probs = runtime.answer(prepared_HW3, budget, text_ids, max_tokens)
    generate_ms = 1e3 * (time.perf_counter() - ready)
    picture = Encoded(f_ND=facts.check_finite(f_ND), preprocess_ms=1e3 * (ready - preparing))
    return answer_of(facts, picture, ids, log_probs, question, generate_ms, began), picture


def answer_of(
    facts: Facts,
    picture: Encoded,
    ids: NDArray[np.int32],
    log_probs: NDArray[np.float32],
    question: str,
    generate_ms: float,
    began: float,
) -> Answer:
    """What was written, as a user is given it."""
    facts.check_finite(log_probs)
    return Answer(
        text=facts.tokenizer.decode(ids),
        confidence=math.exp(float(log_probs.sum(dtype=np.float64))),
        question=question,
        token_budget=int(picture.f_ND.shape[0]),
        num_tokens=len(ids),
        complete=bool(ids[-1] == facts.config.eos_id),
        unknown_words=facts.tokenizer.unknown_words(question),
        timings=Timings(
            preprocess_ms=picture.preprocess_ms,
            encode_image_ms=picture.encode_ms,
            generate_ms=generate_ms,
            total_ms=1e3 * (time.perf_counter() - began),
        ),
    )


def score(
    facts: Facts,
    runtime: Runtime,
    picture: Encoded,
    text_ids: NDArray[np.int32],
    candidates: Sequence[str],
    ids: Sequence[NDArray[np.int32]],
) -> list[Score]:
    """How likely each candidate is, given its ids; shares are `softmax` of the logarithms."""
    log_probs = facts.check_finite(runtime.score(picture.f_ND, text_ids, ids)).astype(np.float64)
    shares = np.exp(log_probs - log_probs.max())
    shares /= shares.sum()
    return [
        Score(
            text=text,
            log_prob=float(log_prob),
            probability=float(share),
            unknown_words=facts.tokenizer.unknown_words(text),
        )
        for text, log_prob, share in zip(candidates, log_probs, shares, strict=True)
    ]
