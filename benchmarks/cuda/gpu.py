"""Where contestants run and how they are timed: a GPU, or this machine's memory for a dry run.

On a GPU a piece of work is timed by events of its stream, over calls that were recorded as one
CUDA graph where that can be: what is then timed is the device alone, not the launches. A dry run
goes through the same steps on the host, with the module of the emulator; its times say nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from our_module import NotHere

__all__ = ["Call", "DryDevice", "Gpu"]

Call = Callable[[], object]


# Some 100 us, and asking for a graph takes 10.
_AHEAD_CYCLES = 200_000


class _Recorded:
    def __init__(self, graph: torch.cuda.CUDAGraph, calls: list[Call]) -> None:
        self._graph, self._calls = graph, calls

    def __call__(self) -> None:
        self._graph.replay()


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

    def seconds(self, call: Call, *, ahead: bool = False) -> tuple[float, float]:
        """Of one call: between its first and last work on the device, and of asking for it.

        With `ahead` the device is kept busy while it is asked, so that it waits for nothing.
        """
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        if ahead:
            torch.cuda._sleep(_AHEAD_CYCLES)
        begin.record()
        began = time.perf_counter()
        call()
        asked = time.perf_counter() - began
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3, asked

    def recorded(self, calls: list[Call]) -> Call:
        """All of them as one graph; fixed addresses in and out. Raises what capturing raises.

        What the calls hold lives as long as the result: the graph reads and writes there.
        """
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
        return _Recorded(graph, calls)


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

    def seconds(self, call: Call, *, ahead: bool = False) -> tuple[float, float]:
        began = time.perf_counter()
        call()
        taken = time.perf_counter() - began
        return taken, taken

    def recorded(self, calls: list[Call]) -> Call:
        def replay() -> None:
            for call in calls:
                call()

        return replay
