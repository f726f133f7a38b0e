"""What TensorRT says of a finished engine; it takes a GPU and its driver to ask."""

from __future__ import annotations

import dataclasses
from typing import Any

from tokenfuse_export.tensorrt.build_log import BuildLog
from tokenfuse_export.tensorrt.flavours import TensorRT
from tokenfuse_export.tensorrt.targets import current_target

__all__ = ["EngineFacts", "engine_facts"]


@dataclasses.dataclass(frozen=True, slots=True)
class EngineFacts:
    """Of an engine that was read back.

    Attributes:
        layers: the inspector's JSON of them.
        device_memory_bytes: of a context, beside the weights: the most that a profile needs.
    """

    layers: str
    device_memory_bytes: int


def engine_facts(trt: TensorRT, target: str, plan: Any) -> EngineFacts | None:
    """The facts of an engine; None where this machine has no GPU that it is for."""
    if current_target()[0] != target:
        return None
    module = trt.module
    log = BuildLog(module)
    engine = module.Runtime(log.logger).deserialize_cuda_engine(plan)
    if engine is None:
        return None
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(module.LayerInformationFormat.JSON)
    return EngineFacts(text, int(engine.device_memory_size_v2))
