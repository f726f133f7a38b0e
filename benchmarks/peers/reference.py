"""The reference in PyTorch, float32, on the CPU: the model, and what it makes of the inputs."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator

import numpy as np
import questions
import torch
from work import ANSWER_TOKENS, TEXT_TOKENS, forced, until_end

from tokenfuse_sdk.bundle import read_bundle
from tokenfuse_sdk.shipped import find_bundle
from tokenfuse_sdk.sizes import SIZES, named_config
from tokenfuse_training.model import JointModel

__all__ = ["answer_of", "inputs_of", "open_reference"]

_TRIES = 200


def open_reference(name: str) -> tuple[JointModel, questions.Source, bool]:
    """The reference, what it is asked, and whether there are right answers."""
    if name in SIZES:
        torch.manual_seed(0)
        config = named_config(name)
        # Rounded to float16, as a bundle stores them: every contestant has the same numbers.
        model = JointModel(config).half().float().eval()
        return model, questions.random_questions(config), False
    from tokenfuse_export.to_onnx import load_reference

    model = load_reference(name)
    bundle = read_bundle(find_bundle(name))
    if questions.knows_scenes(bundle):
        return model, questions.scenes_questions(bundle), True
    return model, questions.random_questions(model.config), False


def answer_of(model: JointModel, f_BND: torch.Tensor, text_BL: np.ndarray) -> np.ndarray:
    ids = model.generate(f_BND, torch.from_numpy(text_BL), max_tokens=ANSWER_TOKENS).numpy()
    padding = ((0, 0), (0, ANSWER_TOKENS - ids.shape[1]))
    return until_end(np.pad(ids, padding), model.config.eos_id)


def _timed(model: JointModel, asked: Iterator[questions.Asked]) -> Iterator[questions.Asked]:
    """One question a picture, of `TEXT_TOKENS`, that the reference answers with something.

    An answer that ends at once would save some contestants the second step.
    """
    tried, last = 0, -1
    for one in asked:
        if one.picture == last or len(one.text_L) != TEXT_TOKENS:
            continue
        tried, last = tried + 1, one.picture
        f_1ND = model.encode_image(torch.from_numpy(one.image_HW3)[None])
        if answer_of(model, f_1ND, one.text_L[None])[0, 0] != model.config.eos_id:
            tried = 0
            yield one
        if tried == _TRIES:
            sys.exit("the model answers questions with nothing; no fair inputs were found")


def inputs_of(
    model: JointModel, asked: Iterator[questions.Asked], batch_size: int
) -> dict[str, np.ndarray]:
    chosen = list(itertools.islice(_timed(model, asked), batch_size))
    image = np.stack([one.image_HW3 for one in chosen])
    text = np.stack([one.text_L for one in chosen])
    f_BND = model.encode_image(torch.from_numpy(image))
    answer = answer_of(model, f_BND, text)
    fused, mask = model.fuse(f_BND, torch.from_numpy(text))
    given = torch.from_numpy(forced(answer, model.config.start_id))
    logits = model.decode(given, fused, mask).numpy()
    return {
        "image_BHW3": image,
        "text_BL": text,
        "answer_BA": answer,
        "logits_BAV": logits,
        "end_id": np.int32(model.config.eos_id),
    }
