"""Does this machine compute what the reference computed? A bundle's golden outputs say.

Shapes: n inputs, L text ids, A answer ids, V vocabulary.
"""

from __future__ import annotations

import numpy as np

from tokenfuse_sdk.bundle import Bundle
from tokenfuse_sdk.errors import BundleFormatError
from tokenfuse_sdk.preprocess import preprocess
from tokenfuse_sdk.runtime import Runtime

__all__ = ["GOLDEN_BOUND", "golden_error"]

# Worst logit error over the root mean square of its row, which an fp32 runtime must stay under.
GOLDEN_BOUND = 1e-4

_NAMES = ("image_u8", "text_ids", "answer_ids", "logits")


def golden_error(bundle: Bundle, runtime: Runtime) -> float:
    """The worst logit error of a runtime on the bundle's golden inputs, relative.

    Args:
        bundle: whose golden.safetensors holds image_u8 (n, H, W, 3), text_ids (n, L) and
            answer_ids (n, A) padded with 0, and logits (n, A, V).
        runtime: opened on the bundle's weights.

    Raises:
        BundleFormatError: golden.safetensors lacks one of these.
    """
    golden = bundle.golden
    missing = [name for name in _NAMES if name not in golden]
    if missing:
        raise BundleFormatError(f"golden.safetensors lacks {', '.join(missing)}")
    worst = 0.0
    for image, text, answer, want_AV in zip(*(golden[name] for name in _NAMES), strict=True):
        text, answer = (np.ascontiguousarray(row[row != 0]) for row in (text, answer))
        prepared = preprocess(image, bundle.preprocess)
        f_ND = runtime.encode_image(prepared, bundle.config.fusion.num_latents)
        got_AV = runtime.logits(f_ND, text, answer).astype(np.float64)
        want_AV = want_AV[: len(answer)].astype(np.float64)
        scale_A = np.sqrt(np.mean(want_AV**2, axis=1))
        worst = max(worst, float((np.abs(got_AV - want_AV).max(axis=1) / scale_A).max()))
    return worst
