"""TensorRT: engines that `tokenfuse build` puts into a bundle, run on a GPU."""

from tokenfuse_sdk.runtime.tensorrt.availability import (
    device_target,
    open_device,
    unavailable_reason,
)
from tokenfuse_sdk.runtime.tensorrt.choice import PRECISIONS, choose_precision
from tokenfuse_sdk.runtime.tensorrt.executor import TensorRTExecutor
from tokenfuse_sdk.runtime.tensorrt.loading import OpenEngines, open_engines

__all__ = [
    "PRECISIONS",
    "OpenEngines",
    "TensorRTExecutor",
    "choose_precision",
    "device_target",
    "open_device",
    "open_engines",
    "unavailable_reason",
]
