"""Many questions at once, where the runtime is faster at that."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tokenfuse_sdk.errors import ImageFormatError
from tokenfuse_sdk.image_tokens import ImageTokens
from tokenfuse_sdk.model.answers import answer_of
from tokenfuse_sdk.model.facts import Facts
from tokenfuse_sdk.model.pictures import Encoded, kept_tokens, prepare
from tokenfuse_sdk.model.texts import question_ids
from tokenfuse_sdk.preprocess.decode import ImageSource
from tokenfuse_sdk.results import Answer
from tokenfuse_sdk.runtime import BatchRuntime
from tokenfuse_sdk.runtime.graphs import is_device_array

__all__ = ["answer_batches"]


def answer_batches(
    facts: Facts,
    runtime: BatchRuntime,
    pairs: Sequence[tuple[ImageSource | ImageTokens, str]],
    *,
    token_budget: int | None,
    default: int,
    max_tokens: int,
) -> list[Answer]:
    """Answers in the order of the questions; a picture that repeats is encoded once.

    All questions and kept tokens are checked before the first picture is read. The times of an
    answer are its share of those of its batch.

    Args:
        pairs: pictures, or what was kept of them, with their questions.
        token_budget: as the user gave it; `default` is the model's.
        max_tokens: checked.

    Raises:
        QuestionError, ImageError, TokensError, TokenBudgetError: as of one answer.
    """
    texts = [question_ids(facts, "answer: ", question) for _, question in pairs]
    pictures = _pictures(facts, runtime, [source for source, _ in pairs], token_budget, default)
    answers: dict[int, Answer] = {}
    # Kept tokens may have other budgets than the rest.
    for budget in sorted({len(picture.f_ND) for picture in pictures}):
        members = [i for i, picture in enumerate(pictures) if len(picture.f_ND) == budget]
        for first in range(0, len(members), runtime.max_batch):
            some = members[first : first + runtime.max_batch]
            began = time.perf_counter()
            f_BND = np.stack([pictures[i].f_ND for i in some])
            written = runtime.generate_many(f_BND, [texts[i] for i in some], max_tokens)
            share = (time.perf_counter() - began) / len(some)
            for i, (ids, log_probs) in zip(some, written, strict=True):
                picture = pictures[i]
                spent = 1e-3 * (picture.preprocess_ms + picture.encode_ms) + share
                answers[i] = answer_of(
                    facts,
                    picture,
                    ids,
                    log_probs,
                    pairs[i][1],
                    1e3 * share,
                    time.perf_counter() - spent,
                )
    return [answers[i] for i in range(len(pairs))]


def _on_host(facts: Facts, runtime: BatchRuntime, image: ImageSource) -> NDArray[np.float32]:
    if is_device_array(image) and runtime.capabilities.device_pictures:
        raise ImageFormatError(
            "a picture on the device cannot be one of many; pass its tokens, of encode_image"
        )
    return prepare(facts, runtime, image)


def _pictures(
    facts: Facts,
    runtime: BatchRuntime,
    sources: Sequence[ImageSource | ImageTokens],
    token_budget: int | None,
    default: int,
) -> list[Encoded]:
    """The tokens of each, those that are not encoded yet in batches."""
    # By identity: `sources` keeps every picture alive meanwhile.
    encoded: dict[int, Encoded] = {}
    new: dict[int, ImageSource] = {}
    budget = default
    for source in sources:
        if isinstance(source, ImageTokens):
            encoded[id(source)] = kept_tokens(facts, source, token_budget, default)
        else:
            budget = facts.config.fusion.check_budget(token_budget, default)
            new[id(source)] = source
    keys = list(new)
    for first in range(0, len(keys), runtime.max_batch):
        some = keys[first : first + runtime.max_batch]
        began = time.perf_counter()
        images_BHW3: NDArray[np.float32] = np.stack(
            [_on_host(facts, runtime, new[key]) for key in some]
        )
        ready = time.perf_counter()
        f_BND = facts.check_finite(runtime.encode_images(images_BHW3, budget))
        done = time.perf_counter()
        for key, f_ND in zip(some, f_BND, strict=True):
            encoded[key] = Encoded(
                f_ND=f_ND,
                preprocess_ms=1e3 * (ready - began) / len(some),
                encode_ms=1e3 * (done - ready) / len(some),
            )
    pictures: list[Encoded] = []
    told: set[int] = set()
    for source in sources:
        picture = encoded[id(source)]
        # Encoded for the first that asks; the others have it for nothing.
        pictures.append(Encoded(f_ND=picture.f_ND) if id(source) in told else picture)
        told.add(id(source))
    return pictures
