"""Where a model runs and how precisely: the choices, their reasons, and the runtimes."""

from tokenfuse_sdk.runtime.choice import choose_precision
from tokenfuse_sdk.runtime.opening import open_bundle
from tokenfuse_sdk.runtime.placement import (
    BACKENDS,
    DEVICES,
    PRECISIONS,
    Placement,
    open_runtime,
    place,
)
from tokenfuse_sdk.runtime.protocol import BatchRuntime, Capabilities, Runtime

__all__ = [
    "BACKENDS",
    "DEVICES",
    "PRECISIONS",
    "BatchRuntime",
    "Capabilities",
    "Placement",
    "Runtime",
    "choose_precision",
    "open_bundle",
    "open_runtime",
    "place",
]
