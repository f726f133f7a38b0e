from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Float = NDArray[np.float32]
_Ids = NDArray[np.int32]

def available_isas() -> list[str]: ...
def chosen_isa(name: str = "") -> str: ...
def default_num_threads() -> int: ...
def linear(
    x: _Float,
    w: _Float,
    bias: _Float | None,
    residual: _Float | None,
    activation: str,
    isa: str,
    num_threads: int,
    /,
) -> _Float: ...
def linear_bf16(
    x: _Float,
    w: _Float,
    bias: _Float | None,
    residual: _Float | None,
    activation: str,
    isa: str,
    num_threads: int,
    /,
) -> _Float: ...
def quantize(x: _Float, isa: str, /) -> tuple[NDArray[np.int8], _Float, NDArray[np.int32]]: ...
def linear_int8(
    x: _Float,
    w: NDArray[np.int8],
    scale: _Float,
    bias: _Float | None,
    residual: _Float | None,
    activation: str,
    isa: str,
    num_threads: int,
    /,
) -> _Float: ...
def layer_norm(x: _Float, weight: _Float, bias: _Float, eps: float, isa: str, /) -> _Float: ...
def log_sum_exp(x: _Float, isa: str, /) -> tuple[_Float, _Ids]: ...
def rms_norm(x: _Float, weight: _Float, eps: float, isa: str, /) -> _Float: ...
def gelu(x: _Float, gated: _Float | None, tanh_form: bool, isa: str, /) -> _Float: ...
def gated_add(a: float, x: _Float, b: float, z: _Float, isa: str, /) -> _Float: ...
def attention(
    q: _Float,
    k: _Float,
    v: _Float,
    scale: float,
    bias: _Float | None,
    isa: str,
    num_threads: int,
    /,
) -> _Float: ...
def attention_int16(
    q: _Float,
    k: _Float,
    v: _Float,
    scale: float,
    bias: _Float | None,
    isa: str,
    num_threads: int,
    /,
) -> _Float: ...
def merge_attention(
    queries: _Float, tokens: _Float, mask: _Float | None, want_weights: bool, isa: str, /
) -> tuple[_Float, _Float, _Float | None]: ...
def conv2d(
    x: _Float,
    w: _Float,
    bias: _Float | None,
    stride: int,
    padding: int,
    activation: str,
    isa: str,
    num_threads: int,
    /,
) -> _Float: ...
def linear_times(
    precisions: Sequence[str],
    *,
    rows: int,
    num_in: int,
    num_out: int,
    isa: str = "",
    budget_seconds: float = 0.0,
) -> list[float]: ...

class CpuEngine:
    def __init__(
        self,
        config: dict[str, Any],
        weights: Mapping[str, NDArray[Any]],
        *,
        num_threads: int = 0,
        isa: str = "",
        precision: str = "fp32",
    ) -> None: ...
    @property
    def precision(self) -> str: ...
    @property
    def isa(self) -> str: ...
    @property
    def num_threads(self) -> int: ...
    def encode_image(self, image_HW3: _Float, token_budget: int) -> _Float: ...
    def encode_image_with_map(
        self, image_HW3: _Float, token_budget: int
    ) -> tuple[_Float, _Float]: ...
    def generate(self, f_ND: _Float, text_ids: _Ids, max_tokens: int) -> tuple[_Ids, _Float]: ...
    def fuse(self, f_ND: _Float, text_ids: _Ids) -> _Float: ...
    def score(self, f_ND: _Float, text_ids: _Ids, candidates: Sequence[_Ids]) -> _Float: ...
    def logits(self, f_ND: _Float, text_ids: _Ids, answer_ids: _Ids) -> _Float: ...
    def memory_report(self) -> dict[str, int]: ...
