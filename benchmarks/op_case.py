"""A benchmark case of one op: every instruction set that runs here, and PyTorch."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from timing import Case

from tokenfuse_sdk import _native

__all__ = ["op_case"]


def op_case(
    name: str,
    ours: Callable[..., np.ndarray],
    torchs: Callable[[], torch.Tensor],
    *,
    num_threads: int,
    macs: int = 0,
    tolerance: float = 1e-4,
) -> Case:
    """`ours` takes `isa`; both must give the same within `tolerance` of the largest value."""
    torch.set_num_threads(num_threads)
    contestants: dict[str, Callable[[], object]] = {
        f"tokenfuse {isa}": functools.partial(ours, isa=isa)
        for isa in reversed(_native.available_isas())
    }

    def check() -> None:
        want = torchs().numpy()
        for call in contestants.values():
            np.testing.assert_allclose(call(), want, atol=tolerance * np.abs(want).max(), rtol=0)

    def run_torch() -> object:
        with torch.inference_mode():
            return torchs()

    return Case(name=name, contestants=contestants | {"torch": run_torch}, check=check, macs=macs)
