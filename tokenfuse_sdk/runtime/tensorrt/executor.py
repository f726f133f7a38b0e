"""TensorRT as a `GraphExecutor`: an engine for each graph, and in each thread a context of each."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from tokenfuse_sdk.engine_key import EngineKey
from tokenfuse_sdk.errors import TokenBudgetError
from tokenfuse_sdk.runtime.tensorrt.cuda import Cuda
from tokenfuse_sdk.runtime.tensorrt.engine import Engine
from tokenfuse_sdk.runtime.tensorrt.lane import Lane
from tokenfuse_sdk.runtime.tensorrt.lanes import Lanes
from tokenfuse_sdk.runtime.tensorrt.values import DeviceValue

__all__ = ["TensorRTExecutor"]


class TensorRTExecutor:
    """Runs graphs on a GPU; threads run side by side, each in a stream of its own.

    What a graph gives stays on the device as long as somebody holds it, and goes into the next
    graph without a copy. Only `get` waits. A value is for the thread that made it.

    Args:
        engines: by graph.
        key: of the engines.
        cuda: the device that they were loaded on.
        bundle: the path of theirs, for errors.
    """

    def __init__(
        self,
        engines: Mapping[str, Engine],
        key: EngineKey,
        cuda: Cuda,
        bundle: str | os.PathLike[str],
    ) -> None:
        self._engines, self._key, self._cuda, self._bundle = engines, key, cuda, bundle
        self._lanes = Lanes(self._new_lane)

    def _new_lane(self) -> Lane:
        return Lane(self._engines, self._cuda)

    def put(self, array: NDArray[Any]) -> DeviceValue:
        """A host array, copied through pinned memory; or a device array, used where it lies.

        A device array has `__dlpack__` or `__cuda_array_interface__`, is C-contiguous float32 or
        int32, and stays as it is until the thread's next `get`.

        Raises:
            OpError: a device array that cannot be used as it is.
            DeviceError: CUDA failed; says at what.
        """
        return self._lanes.own().put(array)

    def get(self, value: DeviceValue) -> NDArray[Any]:
        return self._lanes.own().get(value)

    def run(
        self, graph: str, inputs: Mapping[str, DeviceValue], outputs: Sequence[str]
    ) -> dict[str, DeviceValue]:
        """As the protocol has it.

        Raises:
            TokenBudgetError: the engines were not built for this number of tokens.
            UnsupportedModelError: they were not built for these shapes.
            DeviceError: TensorRT or CUDA failed; says at what.
        """
        if graph == "text_fusion":
            self._check_budget(inputs["f_BND"].shape[1])
        return self._lanes.own().run(graph, inputs, outputs)

    def _check_budget(self, budget: int) -> None:
        budgets = self._key.budgets
        if budget not in budgets:
            wider = dataclasses.replace(self._key, budgets=tuple(sorted({*budgets, budget})))
            raise TokenBudgetError(
                f"token_budget={budget}: these engines were built for "
                f"{', '.join(map(str, budgets))}; pass one of them, or build engines that have it "
                f"too: `{wider.build_command(self._bundle)}`"
            )

    def memory_report(self) -> dict[str, int]:
        """`weights_bytes`: of the engines, as they are in their files; `workspace_bytes`: of
        contexts and tensors of all threads, on the device; `pinned_bytes`: on the host."""
        lanes = list(self._lanes)
        return {
            "weights_bytes": sum(engine.num_bytes for engine in self._engines.values()),
            "workspace_bytes": sum(lane.device_bytes for lane in lanes),
            "pinned_bytes": sum(lane.pinned_bytes for lane in lanes),
        }

    def close(self) -> None:
        """Give everything back, behind the calls that are under way."""
        self._lanes.close()
        for engine in self._engines.values():
            engine.close()
