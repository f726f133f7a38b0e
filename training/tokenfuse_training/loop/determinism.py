"""The same sums in the same order each time, on a GPU too."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

__all__ = ["same_each_time"]


@contextlib.contextmanager
def same_each_time(device: torch.device) -> Iterator[None]:
    """Within it, equal input gives equal bits on equal hardware.

    A CPU does so anyway, at an equal number of threads. On a GPU sums by atomic additions
    (gradients of gathered rows) and some products would not; where PyTorch has no such
    algorithm for an op, it warns. Process-wide settings are put back behind it.
    """
    if device.type != "cuda":
        yield
        return
    # cuBLAS reads it when it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    warned_only = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    benchmark = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned_only)
        torch.utils.deterministic.fill_uninitialized_memory = filled
        torch.backends.cudnn.benchmark = benchmark
