"""What a runtime must offer, and what it says about itself.

Shapes: B batch, H, W rows and columns of the prepared picture; S image tokens, N image
tokens kept, D fusion width, T text width, L text ids, A answer ids, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["BatchRuntime", "Capabilities", "FloatArray", "IdArray", "Runtime"]

FloatArray = NDArray[np.float32]
IdArray = NDArray[np.int32]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Facts about an open runtime.

    Attributes:
        runtime: its name, for example "native_cpu".
        device: "cpu" or "cuda".
        precision: of the arithmetic, for example "fp32".
        isa: instruction set of the kernels, "" where that means nothing.
        num_threads: that one call uses; 0 where that means nothing.
        token_map: whether `encode_image_with_map` works.
        device_pictures: whether `encode_image` and `answer` take a prepared picture that lies on
            the device, (1, H, W, 3), in place of one on the host.
        token_budgets: that it has been made for, ascending; empty for all of the model's.
    """

    runtime: str
    device: str
    precision: str
    isa: str
    num_threads: int
    token_map: bool
    device_pictures: bool = False
    token_budgets: tuple[int, ...] = ()


class Runtime(Protocol):
    """Executes one model; safe to call from many threads.

    The arguments were checked by `Model`: budgets are the config's, ids are in
    the vocabulary, arrays are C-contiguous.
    """

    @property
    def capabilities(self) -> Capabilities:
        """Facts that do not change while the runtime is open."""
        ...

    def encode_image(self, image_HW3: FloatArray, token_budget: int) -> FloatArray:
        """A prepared picture to `f_ND`, N = `token_budget`."""
        ...

    def encode_image_with_map(
        self, image_HW3: FloatArray, token_budget: int
    ) -> tuple[FloatArray, FloatArray]:
        """`f_ND`, and the merging attention (N, S), mean over heads."""
        ...

    def fuse(self, f_ND: FloatArray, text_ids: IdArray) -> FloatArray:
        """(N, T): the question fused with the image tokens, which is what the decoder reads."""
        ...

    def generate(
        self, f_ND: FloatArray, text_ids: IdArray, max_tokens: int
    ) -> tuple[IdArray, FloatArray]:
        """Greedy answer: ids, the end included if reached, and their log-probabilities."""
        ...

    def score(
        self, f_ND: FloatArray, text_ids: IdArray, candidates: Sequence[IdArray]
    ) -> FloatArray:
        """Log-probability of each candidate's ids, which end with the end id."""
        ...

    def logits(self, f_ND: FloatArray, text_ids: IdArray, answer_ids: IdArray) -> FloatArray:
        """(A, V): row a is predicted from the start id and the first a answer ids."""
        ...

    def memory_report(self) -> dict[str, int]:
        """Bytes by purpose."""
        ...


@runtime_checkable
class BatchRuntime(Runtime, Protocol):
    """A runtime that is faster at several things at once than at one after the other.

    What a member of a batch gets does not depend on the others.
    """

    @property
    def max_batch(self) -> int:
        """B of one call at most."""
        ...

    def record(self, batch: int, token_budget: int) -> None:
        """Make ready all that calls of so many, 1 to `max_batch`, will do."""
        ...

    def encode_images(self, images_BHW3: FloatArray, token_budget: int) -> FloatArray:
        """Prepared pictures to `f_BND`."""
        ...

    def generate_many(
        self, f_BND: FloatArray, texts: Sequence[IdArray], max_tokens: int
    ) -> list[tuple[IdArray, FloatArray]]:
        """`generate` for each picture's tokens and the question beside them."""
        ...

    def answer(
        self, image_HW3: FloatArray, token_budget: int, text_ids: IdArray, max_tokens: int
    ) -> tuple[FloatArray, IdArray, FloatArray]:
        """`encode_image`, and `generate` with its tokens; the device is waited for once."""
        ...
