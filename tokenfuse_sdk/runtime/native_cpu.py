"""The compiled CPU engine (`tokenfuse_sdk._native`) as a `Runtime`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import ConfigError, DeviceError, UnsupportedModelError
from tokenfuse_sdk.native import load_native
from tokenfuse_sdk.runtime.protocol import Capabilities, FloatArray, IdArray

__all__ = ["PRECISIONS", "NativeCpuRuntime", "chosen_isa", "lack_told", "unavailable_reason"]

# From the most exact one on. Of the linears; norms and the merging stay in fp32, and below fp32
# attention is in 16-bit integers. "bf16": weights, sums in fp32. "int8": weights per output
# channel, activations per row.
PRECISIONS = ("fp32", "bf16", "int8")


def unavailable_reason() -> str | None:
    """Why there is no CPU engine here, or None when there is one."""
    try:
        load_native()
    except DeviceError as error:
        return str(error)
    return None


def chosen_isa() -> str:
    """The instruction set that an engine will use here.

    Raises:
        ConfigError: TOKENFUSE_FORCE_ISA has a value that this machine does not allow.
    """
    try:
        isa: str = load_native().chosen_isa()
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return isa


@contextlib.contextmanager
def lack_told(config: ModelConfig, num_threads: int | None) -> Iterator[None]:
    """Tell a lack of memory or threads inside the block as `DeviceError`."""
    try:
        yield
    except MemoryError as error:
        raise DeviceError(
            f"there is not enough memory for the model {config.name!r}; close other programs, "
            "or load a smaller model"
        ) from error
    except RuntimeError as error:
        raise DeviceError(
            f"the system grants no {num_threads or load_native().default_num_threads()} threads "
            f"({error}); pass a smaller num_threads"
        ) from error


class NativeCpuRuntime:
    """Runs the whole model in C++; calls from several threads take turns.

    Args:
        config: the model.
        weights: name to float16 or float32 array, as in `expected_tensors(config)`.
        precision: one of `PRECISIONS`.
        num_threads: that one call uses; None for what affinity and cgroup allow.

    Raises:
        DeviceError: the compiled module does not load, or the system has not the memory or the
            threads.
        ConfigError: TOKENFUSE_FORCE_ISA has a value that this machine does not allow.
        UnsupportedModelError: the engine has no such model.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Mapping[str, NDArray[Any]],
        *,
        precision: str = "fp32",
        num_threads: int | None = None,
    ) -> None:
        native, isa = load_native(), chosen_isa()
        try:
            with lack_told(config, num_threads):
                self._engine = native.CpuEngine(
                    config.to_dict(),
                    dict(weights),
                    num_threads=num_threads or 0,
                    isa=isa,
                    precision=precision,
                )
        except ValueError as error:
            raise UnsupportedModelError(
                f"the CPU engine cannot run the model {config.name!r}: {error}"
            ) from error

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            runtime="native_cpu",
            device="cpu",
            precision=self._engine.precision,
            isa=self._engine.isa,
            num_threads=self._engine.num_threads,
            token_map=True,
        )

    def encode_image(self, image_HW3: FloatArray, token_budget: int) -> FloatArray:
        f_ND: FloatArray = self._engine.encode_image(image_HW3, token_budget)
        return f_ND

    def encode_image_with_map(
        self, image_HW3: FloatArray, token_budget: int
    ) -> tuple[FloatArray, FloatArray]:
        f_ND, weights_NS = self._engine.encode_image_with_map(image_HW3, token_budget)
        return f_ND, weights_NS

    def fuse(self, f_ND: FloatArray, text_ids: IdArray) -> FloatArray:
        fused_NT: FloatArray = self._engine.fuse(f_ND, text_ids)
        return fused_NT

    def generate(
        self, f_ND: FloatArray, text_ids: IdArray, max_tokens: int
    ) -> tuple[IdArray, FloatArray]:
        ids, log_probs = self._engine.generate(f_ND, text_ids, max_tokens)
        return ids, log_probs

    def score(
        self, f_ND: FloatArray, text_ids: IdArray, candidates: Sequence[IdArray]
    ) -> FloatArray:
        return np.asarray(self._engine.score(f_ND, text_ids, list(candidates)), dtype=np.float32)

    def logits(self, f_ND: FloatArray, text_ids: IdArray, answer_ids: IdArray) -> FloatArray:
        logits_AV: FloatArray = self._engine.logits(f_ND, text_ids, answer_ids)
        return logits_AV

    def memory_report(self) -> dict[str, int]:
        return dict(self._engine.memory_report())
