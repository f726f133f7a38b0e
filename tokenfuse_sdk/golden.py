"""Does this machine compute what the reference computed? A bundle's golden outputs say.

Shapes: n inputs, L text ids, A answer ids, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenfuse_sdk.bundle import Bundle
from tokenfuse_sdk.errors import BundleFormatError
from tokenfuse_sdk.preprocess import preprocess
from tokenfuse_sdk.runtime import Runtime

__all__ = ["GOLDEN_BOUND", "GOLDEN_BOUND_16", "golden_arrays", "golden_error"]

# Worst logit error over the root mean square of its row, which an fp32 runtime must stay under.
GOLDEN_BOUND = 1e-4
# And one whose linears have 16 bits, by precision: some 20 roundings in a row, each half a place;
# of the worst of a thousand logits four times the root of their sum.
GOLDEN_BOUND_16 = {"fp16": 2.0**-6, "bf16": 2.0**-3}

_NAMES = ("image_u8", "text_ids", "answer_ids", "logits")


def golden_error(bundle: Bundle, runtime: Runtime) -> float:
    """The worst logit error of a runtime on the bundle's golden inputs, relative.

    Args:
        bundle: whose golden.safetensors holds image_u8 (n, H, W, 3), text_ids (n, L) and
            answer_ids (n, A) padded with 0, and logits (n, A, V).
        runtime: opened on the bundle's weights.

    Returns:
        The error; infinity where the runtime gives NaN or infinity.

    Raises:
        BundleFormatError: golden.safetensors lacks one of these, has no input, or holds what the
            model cannot take.
    """
    worst = 0.0
    for image, text, answer, want_AV in zip(*golden_arrays(bundle), strict=True):
        text, answer = (
            np.ascontiguousarray(row[row != 0].astype(np.int32)) for row in (text, answer)
        )
        prepared = preprocess(image, bundle.preprocess)
        f_ND = runtime.encode_image(prepared, bundle.config.fusion.num_latents)
        got_AV = runtime.logits(f_ND, text, answer).astype(np.float64)
        want_AV = want_AV[: len(answer)].astype(np.float64)
        error_A = np.abs(got_AV - want_AV).max(axis=1)
        error = float((error_A / np.sqrt(np.mean(want_AV**2, axis=1))).max())
        # Not max() alone: it drops a NaN.
        worst = max(worst, error) if math.isfinite(error) else math.inf
    return worst


def golden_arrays(bundle: Bundle) -> list[NDArray[Any]]:
    """image_u8, text_ids, answer_ids and logits, each as the model can take them.

    Raises:
        BundleFormatError: as of `golden_error`.
    """
    missing = [name for name in _NAMES if name not in bundle.golden]
    if missing:
        raise BundleFormatError(f"golden.safetensors lacks {', '.join(missing)}")
    arrays = [bundle.golden[name] for name in _NAMES]
    image, text, answer, logits = arrays
    config = bundle.config
    vocab_size = config.text.vocab_size
    num_inputs = len(image) if image.ndim else 0
    wanted = (
        (image, "image_u8", "u", (num_inputs, *image.shape[1:3], 3)),
        (text, "text_ids", "i", (num_inputs, *text.shape[1:2])),
        (answer, "answer_ids", "i", (num_inputs, *answer.shape[1:2])),
        (logits, "logits", "f", (num_inputs, *answer.shape[1:2], vocab_size)),
    )
    for array, name, kind, shape in wanted:
        if array.dtype.kind != kind or array.shape != shape or not array.size:
            raise BundleFormatError(
                f"golden.safetensors: {name} is {array.dtype} {list(array.shape)}; need one input "
                "or more, of one number in all, and the model's vocabulary"
            )
    for ids, name, most in (
        (text, "text_ids", config.text.max_tokens),
        (answer, "answer_ids", config.decoder.max_tokens),
    ):
        counts = (ids != 0).sum(axis=1)
        if ids.min() < 0 or ids.max() >= vocab_size or counts.min() < 1 or counts.max() > most:
            raise BundleFormatError(
                f"golden.safetensors: {name} must hold 1 to {most} ids below {vocab_size} a row"
            )
    if not np.square(logits.astype(np.float64)).sum(axis=2).all():
        raise BundleFormatError("golden.safetensors: a row of logits is all zero")
    return arrays
