"""TensorRT: engines that `tokenfuse build` puts into a bundle, run on a GPU."""

from tokenfuse_sdk.runtime.tensorrt.availability import (
    device_name,
    device_target,
    open_device,
    unavailable_reason,
)
from tokenfuse_sdk.runtime.tensorrt.choice import PRECISIONS, choose_precision
from tokenfuse_sdk.runtime.tensorrt.executor import TensorRTExecutor
from tokenfuse_sdk.runtime.tensorrt.flavours import installed_versions
from tokenfuse_sdk.runtime.tensorrt.loading import OpenEngines, check_engines, open_engines

__all__ = [
    "PRECISIONS",
    "OpenEngines",
    "TensorRTExecutor",
    "check_engines",
    "choose_precision",
    "device_name",
    "device_target",
    "installed_versions",
    "open_device",
    "open_engines",
    "unavailable_reason",
]
