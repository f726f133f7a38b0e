"""This GPU's peaks, measured: bytes of a copy, and products of large square matrices."""

from __future__ import annotations

import statistics

import torch
from gpu import Call, DryDevice, Gpu
from gpu_plan import PRECISIONS
from gpu_work import Peaks

__all__ = ["DTYPES", "measure_peaks"]

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
# Several times any second-level cache; an eighth of what is free on a small machine.
_COPY_BYTES, _FREE_SHARE = 2 << 30, 8
_SIDE, _LEAST_SIDE, _TRIES = 8192, 64, 15


def _median_seconds(gpu: Gpu | DryDevice, call: Call, tries: int) -> float:
    for _ in range(3):
        call()
    return statistics.median(gpu.seconds(call, ahead=True)[0] for _ in range(tries))


def _copy_rate(gpu: Gpu | DryDevice, room: int) -> float:
    source = torch.rand(min(_COPY_BYTES, room) // 4, device=gpu.device)
    target = torch.empty_like(source)
    seconds = _median_seconds(gpu, lambda: target.copy_(source), _TRIES)
    return 2 * source.nbytes / seconds


def _product_rate(gpu: Gpu | DryDevice, room: int, dtype: torch.dtype) -> float:
    side = _LEAST_SIDE if gpu.is_dry else _SIDE
    while 3 * 2 * side**2 > room and side > _LEAST_SIDE:
        side //= 2
    a, b = (torch.randn(side, side, device=gpu.device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    seconds = _median_seconds(gpu, lambda: torch.mm(a, b, out=out), _TRIES)
    return 2 * side**3 / seconds


def measure_peaks(gpu: Gpu | DryDevice) -> Peaks:
    """Medians on random values: zeros are faster, and nobody computes with them."""
    room = gpu.free_bytes // _FREE_SHARE
    return Peaks(
        copy_bytes_per_s=_copy_rate(gpu, room),
        flops_per_s={
            precision: _product_rate(gpu, room, DTYPES[precision]) for precision in PRECISIONS
        },
    )
