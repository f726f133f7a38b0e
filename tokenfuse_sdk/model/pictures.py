"""From a picture, or what was kept of one, to image tokens at a budget.

Shapes: N tokens, D fusion width, S patches and the class token, G patches along a side.
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np
from numpy.typing import NDArray

from tokenfuse_sdk.errors import TokenBudgetError, TokensError
from tokenfuse_sdk.image_tokens import ImageTokens
from tokenfuse_sdk.model.facts import Facts
from tokenfuse_sdk.preprocess import decode_image, preprocess
from tokenfuse_sdk.preprocess.decode import ImageSource
from tokenfuse_sdk.results import TokenMap
from tokenfuse_sdk.runtime import Runtime
from tokenfuse_sdk.runtime.graphs import is_device_array

__all__ = [
    "Encoded",
    "encode",
    "image_tokens",
    "kept_tokens",
    "map_tokens",
    "prepare",
    "tokens_of",
]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Image tokens and what they cost.

    Attributes:
        f_ND: (N, D) float32.
        preprocess_ms, encode_ms: milliseconds; 0 for what was encoded before.
    """

    f_ND: NDArray[np.float32]
    preprocess_ms: float = 0.0
    encode_ms: float = 0.0


def prepare(facts: Facts, runtime: Runtime, image: ImageSource) -> NDArray[np.float32]:
    """A picture as the model takes it: (H, W, 3).

    One that lies on the device was prepared by whoever put it there, and is taken as it is where
    the runtime can.
    """
    if is_device_array(image) and runtime.capabilities.device_pictures:
        return image  # type: ignore[return-value]
    prepared_HW3: NDArray[np.float32] = preprocess(decode_image(image), facts.preprocess)
    return prepared_HW3


def encode(facts: Facts, runtime: Runtime, image: ImageSource, budget: int) -> Encoded:
    """A picture, encoded at a budget that was checked."""
    began = time.perf_counter()
    prepared_HW3 = prepare(facts, runtime, image)
    ready = time.perf_counter()
    f_ND = facts.check_finite(runtime.encode_image(prepared_HW3, budget))
    done = time.perf_counter()
    return Encoded(f_ND=f_ND, preprocess_ms=1e3 * (ready - began), encode_ms=1e3 * (done - ready))


def map_tokens(facts: Facts, runtime: Runtime, image: ImageSource, budget: int) -> TokenMap:
    """Which patch of a picture fed which of its tokens, at a budget that was checked."""
    _, weights_NS = runtime.encode_image_with_map(prepare(facts, runtime, image), budget)
    vision = facts.config.vision
    patches_NS = weights_NS[:, vision.num_class_tokens :]
    weights_NGG = patches_NS.reshape(budget, vision.grid_size, vision.grid_size).copy()
    weights_NGG.setflags(write=False)
    return TokenMap(weights=weights_NGG)


def tokens_of(facts: Facts, f_ND: NDArray[np.float32]) -> ImageTokens:
    """What a user may keep of an encoded picture."""
    f_ND.setflags(write=False)
    return ImageTokens(f_ND=f_ND, model_name=facts.config.name, weights_sha256=facts.digest)


def image_tokens(
    facts: Facts,
    runtime: Runtime,
    image: ImageSource | ImageTokens,
    token_budget: int | None,
    default: int,
) -> Encoded:
    """Image tokens of a call: a picture is encoded, what was kept of one is checked and cut.

    Args:
        image: either.
        token_budget: as the user gave it.
        default: N of the model where there is none; kept tokens may have fewer.

    Raises:
        TokensError: another model's, or of a shape that this one does not make.
        TokenBudgetError: not one of the budgets, or more than the tokens hold.
        ImageError: no picture.
    """
    if not isinstance(image, ImageTokens):
        budget = facts.config.fusion.check_budget(token_budget, default)
        return encode(facts, runtime, image, budget)
    return kept_tokens(facts, image, token_budget, default)


def kept_tokens(
    facts: Facts, image: ImageTokens, token_budget: int | None, default: int
) -> Encoded:
    """What was kept of a picture, checked and cut; as `image_tokens`."""
    fusion = facts.config.fusion
    if image.weights_sha256 != facts.digest:
        raise TokensError(
            f"these image tokens were made by {image.model_name!r} with other weights "
            f"than those of {facts.config.name!r}; encode the picture again"
        )
    if image.num_tokens not in fusion.token_budgets or image.f_ND.shape[1] != fusion.width:
        raise TokensError(
            f"these image tokens are {image.num_tokens} of width {image.f_ND.shape[1]}; "
            f"{facts.config.name!r} makes one of {list(fusion.token_budgets)}, of width "
            f"{fusion.width}; encode the picture again"
        )
    budget = fusion.check_budget(token_budget, min(image.num_tokens, default))
    if budget > image.num_tokens:
        raise TokenBudgetError(
            f"token_budget={budget}, but these image tokens hold {image.num_tokens}; "
            "encode the picture with the larger budget"
        )
    return Encoded(f_ND=image.f_ND[:budget])
