"""What everybody is asked: pictures, questions, and answers for teacher forcing.

Shapes: n inputs, L text ids, A answer ids.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from tokenfuse_sdk.bundle import Bundle
from tokenfuse_sdk.golden import golden_arrays
from tokenfuse_sdk.preprocess import PreprocessConfig, preprocess
from tokenfuse_training.model import JointModel
from tokenfuse_training.publishing.golden import golden_outputs as _golden_outputs

__all__ = ["GoldenInputs", "Question", "golden_inputs", "golden_outputs", "inputs_of"]

# Of seeded inputs. The logits of all are a tensor of golden.safetensors, whose size has a cap: of
# `base` 8 ids of 32,128 logits are a megabyte. Greedy answers are as long as the model has them.
_MAX_ANSWER = 8
# A seeded picture is wider than high: it is padded and resized like a user's.
_BLOCKS = (6, 8)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One input, as a runtime takes it.

    Attributes:
        image_HW3: prepared, float32.
        text_ids: int32, without padding.
        answer_ids: int32, without the start id and padding.
    """

    image_HW3: NDArray[np.float32]
    text_ids: NDArray[np.int32]
    answer_ids: NDArray[np.int32]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GoldenInputs:
    """Pictures (n, H, W, 3) uint8, ids (n, L) and (n, A) int32 padded with 0.

    `preprocess`: how pictures are prepared.
    """

    image_u8: NDArray[np.uint8]
    text_ids: NDArray[np.int32]
    answer_ids: NDArray[np.int32]
    preprocess: PreprocessConfig

    def questions(self) -> list[Question]:
        """Each input by itself, prepared by the SDK's own `preprocess`."""
        rows = zip(self.image_u8, self.text_ids, self.answer_ids, strict=True)
        return [
            Question(
                image_HW3=preprocess(image, self.preprocess),
                text_ids=_without_padding(text),
                answer_ids=_without_padding(answer),
            )
            for image, text, answer in rows
        ]


def _without_padding(ids: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.ascontiguousarray(ids[ids != 0], np.int32)


def golden_inputs(
    model: JointModel, count: int = 4, seed: int = 0, *, config: PreprocessConfig | None = None
) -> GoldenInputs:
    """Seeded pictures of coloured blocks, questions and answers of several lengths.

    Args:
        model: any.
        count: n; the first question has one id, the last as many as the model takes.
        seed: the same one gives the same inputs.
        config: how pictures are prepared; None for the default at the model's size.
    """
    rng = np.random.default_rng(seed)
    text, size = model.config.text, model.config.vision.image_size
    blocks = rng.integers(0, 256, (count, *_BLOCKS, 3), dtype=np.uint8)
    side = -(-size // _BLOCKS[1])
    longest = min(_MAX_ANSWER, model.config.decoder.max_tokens)

    def ids(most: int) -> NDArray[np.int32]:
        padded = rng.integers(2, text.vocab_size, (count, most)).astype(np.int32)
        lengths = np.linspace(1, most, count).round().astype(int)
        return np.where(np.arange(most) < lengths[:, None], padded, 0).astype(np.int32)

    return GoldenInputs(
        image_u8=blocks.repeat(side, axis=1).repeat(side, axis=2),
        text_ids=ids(text.max_tokens),
        answer_ids=ids(longest),
        preprocess=config or PreprocessConfig(image_size=size),
    )


def inputs_of(bundle: Bundle, model: JointModel) -> GoldenInputs:
    """The golden inputs of a bundle; seeded ones where it has none.

    Raises:
        BundleFormatError: it has some that the model cannot take.
    """
    if "text_ids" not in bundle.golden or "answer_ids" not in bundle.golden:
        return golden_inputs(model, config=bundle.preprocess)
    image_u8, text_ids, answer_ids, _ = golden_arrays(bundle)
    return GoldenInputs(
        image_u8=image_u8,
        text_ids=text_ids.astype(np.int32),
        answer_ids=answer_ids.astype(np.int32),
        preprocess=bundle.preprocess,
    )


def golden_outputs(model: JointModel, inputs: GoldenInputs) -> dict[str, np.ndarray]:
    """The tensors of golden.safetensors: the inputs and what the reference gives for them."""
    return _golden_outputs(
        model, inputs.image_u8, inputs.text_ids, inputs.answer_ids, inputs.preprocess
    )
