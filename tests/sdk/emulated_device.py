"""An emulated GPU, and the executor of a bundle's graphs in fp32 on it."""

from __future__ import annotations

from typing import Any

from emulated_cuda import EmulatedCuda
from emulated_engines import engine_bytes, key_of, ranges_of
from emulated_tensorrt import EmulatedTensorRT

from tokenfuse_sdk.bundle import Bundle
from tokenfuse_sdk.graphs import GRAPHS
from tokenfuse_sdk.runtime.graphs import GraphRuntime
from tokenfuse_sdk.runtime.protocol import Capabilities
from tokenfuse_sdk.runtime.tensorrt import TensorRTExecutor
from tokenfuse_sdk.runtime.tensorrt.cuda import Cuda
from tokenfuse_sdk.runtime.tensorrt.engine import Engine
from tokenfuse_sdk.runtime.tensorrt.log import Log

__all__ = ["BATCHES", "BUDGETS", "EmulatedDevice", "serialised_engine"]

# Not 4, which the small model has too: so that it is refused.
BUDGETS, BATCHES = (2, 8), (1, 3)


def serialised_engine(bundle: Bundle, graph: str, **options: Any) -> bytes:
    """Of a graph; options as of `engine_bytes`."""
    onnx = bundle.path / "onnx" / "fp32" / f"{graph}.onnx"
    return engine_bytes(onnx, ranges_of(bundle.config, graph, onnx, BATCHES, BUDGETS), **options)


class EmulatedDevice:
    """A device.

    Args:
        bundle: read, with graphs in fp32.
        serialised: graph to its engine.
    """

    def __init__(self, bundle: Bundle, serialised: dict[str, bytes]) -> None:
        self.cuda = EmulatedCuda()
        self.module = EmulatedTensorRT(self.cuda)
        self.log = Log(self.module)
        runtime = self.module.Runtime(self.log.logger)
        self.engines = {
            graph: Engine(
                self.module, runtime, memoryview(serialised[graph]), name=graph, log=self.log
            )
            for graph in GRAPHS
        }
        key = key_of(bundle, batches=BATCHES, budgets=BUDGETS)
        self.executor = TensorRTExecutor(self.engines, key, Cuda(self.cuda), bundle.path)
        capabilities = Capabilities(
            runtime="tensorrt",
            device="cuda",
            precision="fp32",
            isa="sm_86",
            num_threads=0,
            token_map=True,
            device_pictures=True,
        )
        self.runtime = GraphRuntime(bundle.config, self.executor, capabilities, batches=BATCHES)

    def context(self, graph: str) -> Any:
        """The first thread's of a graph."""
        outputs = self.module.contexts
        (found,) = (one for one in outputs if graph == _graph_of(one))
        return found


def _graph_of(context: Any) -> str:
    first = {"image_BHW3": "image_encoder", "f_BND": "text_fusion", "answer_BA": "decoder"}
    return first[context.engine.names[0]]
