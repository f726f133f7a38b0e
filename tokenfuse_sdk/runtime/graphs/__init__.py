"""The three exported graphs of a model as a `Runtime`, whoever executes them."""

from tokenfuse_sdk.runtime.graphs.executor import GraphExecutor, is_device_array
from tokenfuse_sdk.runtime.graphs.runtime import GraphRuntime

__all__ = ["GraphExecutor", "GraphRuntime", "is_device_array"]
