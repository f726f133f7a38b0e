"""What executes the three graphs of one model; `GraphRuntime` asks it for everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["GraphExecutor", "is_device_array"]


def is_device_array(array: object) -> bool:
    """Whether it lies on a device; NumPy arrays, which show DLPack too, do not."""
    return not isinstance(array, np.ndarray) and (
        hasattr(array, "__dlpack__") or hasattr(array, "__cuda_array_interface__")
    )


class GraphExecutor(Protocol):
    """Runs graphs; values stay where the executor keeps them. Safe to call from many threads.

    Names of graphs, inputs and outputs are those of `tokenfuse_sdk.graphs`.
    """

    def put(self, array: NDArray[Any]) -> Any:
        """A host array, C-contiguous, as a value; it may have no elements.

        Some executors take device arrays too, where they lie: `Capabilities.device_pictures`.
        """
        ...

    def get(self, value: Any) -> NDArray[Any]:
        """A value as a host array of its own memory."""
        ...

    def run(self, graph: str, inputs: Mapping[str, Any], outputs: Sequence[str]) -> dict[str, Any]:
        """Values to values. Outputs that are not asked for need not be computed."""
        ...

    def memory_report(self) -> dict[str, int]:
        """Bytes by purpose."""
        ...

    def close(self) -> None:
        """Give everything back; called once, when no call is running."""
        ...
