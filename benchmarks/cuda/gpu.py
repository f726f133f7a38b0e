"""Where contestants run and how they are timed: a GPU, or this machine's memory for a dry run.

On a GPU a piece of work is timed by events of its stream, over calls that were recorded as one
CUDA graph where that can be: what is then timed is the device alone, not the launches. A dry run
goes through the same steps on the host, with the module of the emulator; its times say nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pathlib
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

__all__ = ["Call", "DryDevice", "Gpu", "NotHere", "emulated_module", "gpu_module"]

Call = Callable[[], object]
_EMULATED = "TOKENFUSE_CUDA_EMULATED"


class NotHere(RuntimeError):
    """A contestant cannot take part; the message says why."""


def gpu_module() -> ModuleType:
    """The engine's module, `tokenfuse_sdk._cuda`.

    Raises:
        NotHere: it is not built, does not load, or sees no device.
    """
    if importlib.util.find_spec("tokenfuse_sdk._cuda") is None:
        raise NotHere("tokenfuse_sdk._cuda is not built")
    try:
        module = importlib.import_module("tokenfuse_sdk._cuda")
    except ImportError as error:
        raise NotHere(f"tokenfuse_sdk._cuda does not load: {error}") from error
    if module.device_count() == 0:
        raise NotHere("tokenfuse_sdk._cuda sees no device")
    return module


def emulated_module() -> ModuleType:
    """The same on the emulator, from the folder that the environment names.

    Raises:
        NotHere: the variable is not set, or nothing is there.
    """
    folder = os.environ.get(_EMULATED)
    if not folder or not list(pathlib.Path(folder).glob("_cuda_emulated*.so")):
        raise NotHere(f"no _cuda_emulated: set {_EMULATED} to the folder that has it")
    sys.path.append(folder)
    return importlib.import_module("_cuda_emulated")


class Gpu:
    """CUDA device 0.

    Raises:
        NotHere: PyTorch sees none.
    """

    is_dry = False

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise NotHere("PyTorch sees no CUDA device; --dry-run tries the script without one")
        self.device = torch.device("cuda")
        # The float32 reference is to be float32.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def facts(self) -> dict[str, Any]:
        """For the report."""
        properties = torch.cuda.get_device_properties(0)
        return {
            "gpu": properties.name,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "num_multiprocessors": properties.multi_processor_count,
            "memory_bytes": properties.total_memory,
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
        }

    @property
    def cache_bytes(self) -> int:
        """Of the second-level cache."""
        return int(getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 0)) or 4 << 20

    @property
    def free_bytes(self) -> int:
        return int(torch.cuda.mem_get_info()[0])

    @property
    def stream(self) -> int:
        """The cudaStream_t that PyTorch uses now: others must use the same to be in order."""
        return int(torch.cuda.current_stream().cuda_stream)

    def wait(self) -> None:
        torch.cuda.synchronize()

    def pinned(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.pin_memory()

    def seconds(self, call: Call) -> tuple[float, float]:
        """Of one call: between its first and last work on the device, and of asking for it."""
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        began = time.perf_counter()
        call()
        asked = time.perf_counter() - began
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3, asked

    def recorded(self, calls: list[Call]) -> Call:
        """All of them as one graph; fixed addresses in and out. Raises what capturing raises."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                for call in calls:
                    call()
        torch.cuda.current_stream().wait_stream(side)
        self.wait()
        graph = torch.cuda.CUDAGraph()
        # "relaxed": memory for a workspace may be asked for meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="relaxed"):
            for call in calls:
                call()
        return graph.replay


class DryDevice:
    """The host in place of a GPU."""

    is_dry = True
    cache_bytes = 1 << 10
    free_bytes = 64 << 20
    stream = 0

    def __init__(self) -> None:
        self.device = torch.device("cpu")

    def facts(self) -> dict[str, Any]:
        return {"gpu": "none: a dry run, whose times say nothing", "torch": torch.__version__}

    def wait(self) -> None:
        pass

    def pinned(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    def seconds(self, call: Call) -> tuple[float, float]:
        began = time.perf_counter()
        call()
        taken = time.perf_counter() - began
        return taken, taken

    def recorded(self, calls: list[Call]) -> Call:
        def replay() -> None:
            for call in calls:
                call()

        return replay
