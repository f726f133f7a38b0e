"""The three exported graphs of a model as a `Runtime`, whoever executes them."""

from tokenfuse_sdk.runtime.graphs.executor import GraphExecutor
from tokenfuse_sdk.runtime.graphs.runtime import GraphRuntime

__all__ = ["GraphExecutor", "GraphRuntime"]
