from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Float = NDArray[np.float32]
_Ids = NDArray[np.int32]
# NumPy's, or anything with __dlpack__ or __cuda_array_interface__.
_Array = Any

class CudaError(RuntimeError): ...
class OutOfMemory(CudaError): ...

def device_count() -> int: ...
def device_info() -> dict[str, Any]: ...
def has_code() -> bool: ...

class DeviceArray:
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...
    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    def to_host(self) -> NDArray[Any]: ...

def to_device(array: NDArray[Any], precision: str, *, stream: int = 0) -> DeviceArray: ...
def linear(
    x: _Array,
    weight: _Array,
    bias: _Array | None = None,
    *,
    residual: _Array | None = None,
    activation: str = "none",
    gated: bool = False,
    norm: str = "none",
    norm_weight: _Array | None = None,
    norm_bias: _Array | None = None,
    eps: float = 1e-6,
    original: _Array | None = None,
    scale: float = 1.0,
    original_scale: float = 1.0,
    out: _Array | None = None,
    result: str | None = None,
    precision: str | None = None,
    stream: int = 0,
) -> _Array: ...
def layer_norm(
    x: _Array,
    weight: _Array,
    bias: _Array,
    *,
    eps: float = 1e-6,
    out: _Array | None = None,
    result: str | None = None,
    stream: int = 0,
) -> _Array: ...
def rms_norm(
    x: _Array,
    weight: _Array,
    *,
    eps: float = 1e-6,
    out: _Array | None = None,
    result: str | None = None,
    stream: int = 0,
) -> _Array: ...
def log_sum_exp(
    x: _Array, *, given: _Array | None = None, stream: int = 0
) -> tuple[_Array, _Array]: ...
def patches(
    x: _Array,
    *,
    kernel: int,
    conv_stride: int = 1,
    padding: int = 0,
    out: _Array | None = None,
    result: str | None = None,
    precision: str | None = None,
    stream: int = 0,
) -> _Array: ...
def attention(
    q: _Array,
    k: _Array,
    v: _Array,
    *,
    scale: float,
    relative_bias: _Array | None = None,
    key_counts: _Array | None = None,
    out: _Array | None = None,
    precision: str | None = None,
    stream: int = 0,
) -> _Array: ...
def merge_attention(
    queries: _Array,
    tokens: _Array,
    *,
    return_weights: bool = False,
    out: _Array | None = None,
    precision: str | None = None,
    stream: int = 0,
) -> tuple[_Array, _Array, _Array | None]: ...

class CudaEngine:
    def __init__(
        self,
        config: dict[str, Any],
        weights: Mapping[str, NDArray[Any]],
        *,
        precision: str = "fp16",
        max_batch: int = 1,
        graphs: bool = True,
    ) -> None: ...
    @property
    def precision(self) -> str: ...
    @property
    def max_batch(self) -> int: ...
    def record(self, batch: int, token_budget: int) -> None: ...
    def encode_images(
        self, images_BHW3: _Float, token_budget: int, with_map: bool = False
    ) -> tuple[_Float, _Float | None]: ...
    def generate(
        self, f_BND: _Float, texts: Sequence[_Ids], max_tokens: int
    ) -> list[tuple[_Ids, _Float]]: ...
    def answer(
        self, images_BHW3: _Float, texts: Sequence[_Ids], token_budget: int, max_tokens: int
    ) -> tuple[_Float, list[tuple[_Ids, _Float]]]: ...
    def fuse(self, f_ND: _Float, text_ids: _Ids) -> _Float: ...
    def score(self, f_ND: _Float, text_ids: _Ids, candidates: Sequence[_Ids]) -> _Float: ...
    def logits(self, f_ND: _Float, text_ids: _Ids, answer_ids: _Ids) -> _Float: ...
    def set_timed(self, timed: bool) -> None: ...
    def last_times(self) -> dict[str, float]: ...
    def memory_report(self) -> dict[str, int]: ...
