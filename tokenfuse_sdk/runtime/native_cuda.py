"""The compiled CUDA engine (`tokenfuse_sdk._cuda`) as a `Runtime`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.cuda_module import cuda_failure_told, load_cuda, unavailable_reason
from tokenfuse_sdk.errors import UnsupportedModelError
from tokenfuse_sdk.runtime.protocol import Capabilities, FloatArray, IdArray

__all__ = ["MAX_BATCH", "PRECISIONS", "NativeCudaRuntime", "device_name", "unavailable_reason"]

# From the most exact one on. Of linears and attention, with float32 sums; norms, softmax and what a
# stack of layers adds up stay in float32.
PRECISIONS = ("fp16", "bf16")
# Pictures or questions of one call of the engine, for which its memory is planned.
MAX_BATCH = 8


def device_name() -> str:
    """The GPU that is used, in words; one must be there."""
    info = load_cuda().device_info()
    capability = info["compute_capability"]
    return (
        f"{info['name']} (sm_{capability}, {info['num_multiprocessors']} multiprocessors, "
        f"{info['memory_bytes'] / 2**30:.0f} GiB)"
    )


class NativeCudaRuntime:
    """Runs the whole model on a GPU; calls from several threads take turns.

    Args:
        config: the model.
        weights: name to float16 or float32 array, as in `expected_tensors(config)`.
        precision: one of `PRECISIONS`.
        max_batch: pictures or questions of one call at most; device memory grows with it.
        module: the compiled module; None for `tokenfuse_sdk._cuda`.

    Raises:
        DeviceError: no device, or it has not the memory, or CUDA failed; says which call.
        UnsupportedModelError: the engine has no such model.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Mapping[str, NDArray[Any]],
        *,
        precision: str = "fp16",
        max_batch: int = MAX_BATCH,
        module: ModuleType | None = None,
    ) -> None:
        self._module = load_cuda() if module is None else module
        try:
            with self._failure_told():
                self._engine = self._module.CudaEngine(
                    config.to_dict(), dict(weights), precision=precision, max_batch=max_batch
                )
        except ValueError as error:
            raise UnsupportedModelError(
                f"the CUDA engine cannot run the model {config.name!r}: {error}; the CPU engine "
                "may: device='cpu'"
            ) from error

    def _failure_told(self) -> AbstractContextManager[None]:
        return cuda_failure_told(self._module)

    @property
    def capabilities(self) -> Capabilities:
        with self._failure_told():
            info = self._module.device_info()
        return Capabilities(
            runtime="native_cuda",
            device="cuda",
            precision=self._engine.precision,
            isa=f"sm_{info['compute_capability']}",
            num_threads=0,
            token_map=True,
        )

    @property
    def max_batch(self) -> int:
        most: int = self._engine.max_batch
        return most

    def record(self, batch: int, token_budget: int) -> None:
        with self._failure_told():
            self._engine.record(batch, token_budget)

    def encode_image(self, image_HW3: FloatArray, token_budget: int) -> FloatArray:
        f_ND: FloatArray = self.encode_images(image_HW3[np.newaxis], token_budget)[0]
        return f_ND

    def encode_images(self, images_BHW3: FloatArray, token_budget: int) -> FloatArray:
        with self._failure_told():
            f_BND, _ = self._engine.encode_images(images_BHW3, token_budget)
        return np.asarray(f_BND, dtype=np.float32)

    def encode_image_with_map(
        self, image_HW3: FloatArray, token_budget: int
    ) -> tuple[FloatArray, FloatArray]:
        with self._failure_told():
            f_BND, map_BNS = self._engine.encode_images(
                image_HW3[np.newaxis], token_budget, with_map=True
            )
        return f_BND[0], map_BNS[0]

    def fuse(self, f_ND: FloatArray, text_ids: IdArray) -> FloatArray:
        with self._failure_told():
            fused_NT: FloatArray = self._engine.fuse(f_ND, text_ids)
        return fused_NT

    def generate(
        self, f_ND: FloatArray, text_ids: IdArray, max_tokens: int
    ) -> tuple[IdArray, FloatArray]:
        return self.generate_many(f_ND[np.newaxis], [text_ids], max_tokens)[0]

    def generate_many(
        self, f_BND: FloatArray, texts: Sequence[IdArray], max_tokens: int
    ) -> list[tuple[IdArray, FloatArray]]:
        with self._failure_told():
            return list(self._engine.generate(f_BND, list(texts), max_tokens))

    def answer(
        self, image_HW3: FloatArray, token_budget: int, text_ids: IdArray, max_tokens: int
    ) -> tuple[FloatArray, IdArray, FloatArray]:
        with self._failure_told():
            f_BND, [(ids, log_probs)] = self._engine.answer(
                image_HW3[np.newaxis], [text_ids], token_budget, max_tokens
            )
        return f_BND[0], ids, log_probs

    def score(
        self, f_ND: FloatArray, text_ids: IdArray, candidates: Sequence[IdArray]
    ) -> FloatArray:
        with self._failure_told():
            log_probs = self._engine.score(f_ND, text_ids, list(candidates))
        return np.asarray(log_probs, dtype=np.float32)

    def logits(self, f_ND: FloatArray, text_ids: IdArray, answer_ids: IdArray) -> FloatArray:
        with self._failure_told():
            logits_AV: FloatArray = self._engine.logits(f_ND, text_ids, answer_ids)
        return logits_AV

    def memory_report(self) -> dict[str, int]:
        return dict(self._engine.memory_report())
