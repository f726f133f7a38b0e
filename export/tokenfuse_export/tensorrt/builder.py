"""One engine: a graph's ONNX file to a plan in TensorRT's own format, and what it is made of."""

from __future__ import annotations

import dataclasses
import pathlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from tokenfuse_export.errors import EngineBuildError
from tokenfuse_export.tensorrt.build_log import BuildLog
from tokenfuse_export.tensorrt.flavours import TensorRT
from tokenfuse_export.tensorrt.inspect import EngineFacts, engine_facts
from tokenfuse_export.tensorrt.layers import (
    Layer,
    UnknownWordsError,
    layers_of_inspector,
    layers_of_log,
)
from tokenfuse_export.tensorrt.monitor import BuildMonitor
from tokenfuse_export.tensorrt.profiles import add_profiles
from tokenfuse_export.tensorrt.targets import Target
from tokenfuse_export.tensorrt.timing_cache import cached_timings, use_timings
from tokenfuse_sdk.background import Background
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.engine_file import EngineProfile

__all__ = ["BuiltEngine", "build_engine"]

# What an engine need not compute: the token map costs an attention of its own beside the fused one.
_UNUSED_OUTPUTS = ("weights_BNS",)
# How often the caller hears how far it is.
_TICK_S = 0.1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BuiltEngine:
    """An engine, in TensorRT's memory, and what is known of it.

    Attributes:
        plan: the bytes, as a buffer.
        layers: of all profiles; none where TensorRT's words for them are not known.
        layers_from: "inspector", or "log" where there is no driver.
        weights_bytes: what the builder says of all weights.
        device_memory_bytes: beside the weights, while it runs.
        build_s: seconds.
        warnings: of the builder, and of what it says of its layers.
        timings: the timing cache, where there is one.
    """

    plan: Any
    layers: tuple[Layer, ...]
    layers_from: str
    weights_bytes: int
    device_memory_bytes: int
    build_s: float
    warnings: tuple[str, ...]
    timings: bytes | None


def build_engine(
    trt: TensorRT,
    path: pathlib.Path,
    *,
    config: ModelConfig,
    profiles: Sequence[EngineProfile],
    target: Target,
    timings: bytes | None,
    report: Callable[[float, str], None],
) -> BuiltEngine:
    """Build one engine.

    The builder works on a thread, so that this one hears an interrupt at once: the builder is
    then told to stop, and ends at its next step.

    Args:
        trt: the installed one.
        path: `<graph>.onnx`; weights in a file beside it are found there.
        config: the model's.
        profiles: of the graph.
        target: the GPU.
        timings: a timing cache to use and to add to; None does without.
        report: called on this thread, with what share is done, 0 to 1, and with what is being
            done.

    Raises:
        EngineBuildError: TensorRT refuses; with its own message.
    """
    log, monitor = BuildLog(trt.module), BuildMonitor(trt.module)
    done = threading.Event()

    def work() -> tuple[Any, bytes | None, float]:
        try:
            return _build(trt, path, log, monitor, config, profiles, target, timings)
        finally:
            done.set()

    with Background(work) as background:
        try:
            while not done.wait(_TICK_S):
                report(*monitor.state())
        except BaseException:
            # An interrupt, or the reader of the progress went away: leaving the block waits.
            monitor.stopped = True
            raise
    plan, timings, build_s = background.result()
    facts = engine_facts(trt, target.name, plan)
    layers, layers_from, doubts = _layers(log, facts)
    return BuiltEngine(
        plan=plan,
        layers=layers,
        layers_from=layers_from,
        weights_bytes=log.weights_bytes,
        device_memory_bytes=log.activation_bytes if facts is None else facts.device_memory_bytes,
        build_s=build_s,
        warnings=(*log.warnings, *doubts),
        timings=timings,
    )


def _layers(log: BuildLog, facts: EngineFacts | None) -> tuple[tuple[Layer, ...], str, list[str]]:
    """What the report says of layers, where that is from, and why something is not known.

    Never an error: the engine is there, and as good as its answers.
    """
    doubts: list[str] = []

    def told(by: Callable[[str], tuple[Layer, ...]], text: str) -> tuple[Layer, ...]:
        try:
            return by(text)
        except UnknownWordsError as error:
            doubts.append(f"TensorRT tells of layers in words that are not known: {error}")
            return ()

    layers, layers_from = told(layers_of_log, log.layers), "log"
    inspected = () if facts is None else told(layers_of_inspector, facts.layers)
    # An inspector that tells of one profile alone knows less than the log.
    if inspected and len(inspected) >= len(layers):
        layers, layers_from = inspected, "inspector"
    if not layers and not doubts:
        doubts.append("TensorRT tells nothing of layers")
    return layers, layers_from, doubts


def _build(
    trt: TensorRT,
    path: pathlib.Path,
    log: BuildLog,
    monitor: BuildMonitor,
    config: ModelConfig,
    profiles: Sequence[EngineProfile],
    target: Target,
    timings: bytes | None,
) -> tuple[Any, bytes | None, float]:
    module = trt.module
    begun = time.perf_counter()
    try:
        builder = module.Builder(log.logger)
        # The network's weights are the parser's memory, so it must live as long.
        network, _parser = _read_network(module, builder, path, log)
        settings = builder.create_builder_config()
        settings.profiling_verbosity = module.ProfilingVerbosity.DETAILED
        settings.progress_monitor = monitor.monitor
        # fp32 means it: TF32 keeps 10 bits of a product's factors.
        settings.clear_flag(module.BuilderFlag.TF32)
        if target.capability is not None:
            settings.num_compute_capabilities = 1
            capability = module.ComputeCapability.__members__[target.capability]
            settings.set_compute_capability(capability, 0)
        add_profiles(builder, network, settings, config, profiles)
        if timings is not None:
            use_timings(settings, timings)
        plan = builder.build_serialized_network(network, settings)
        if plan is None:
            raise EngineBuildError(_refusal(trt, path, target, log.errors))
        if timings is not None:
            timings = cached_timings(settings)
    except (RuntimeError, TypeError, MemoryError) as error:
        if isinstance(error, EngineBuildError):
            raise
        # pybind11 makes these of TensorRT's exceptions, and of a null that it returns.
        raise EngineBuildError(_refusal(trt, path, target, [*log.errors, str(error)])) from error
    return plan, timings, time.perf_counter() - begun


def _read_network(module: Any, builder: Any, path: pathlib.Path, log: BuildLog) -> tuple[Any, Any]:
    """The graph as a strongly typed network: every tensor has the type that the file gives it."""
    strongly_typed = module.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    network = builder.create_network(1 << int(strongly_typed))
    parser = module.OnnxParser(network, log.logger)
    if not parser.parse_from_file(str(path)):
        said = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise EngineBuildError(f"TensorRT cannot read {path.name}: {said}")
    for i in reversed(range(network.num_outputs)):
        output = network.get_output(i)
        if output.name in _UNUSED_OUTPUTS:
            network.unmark_output(output)
    return network, parser


def _refusal(trt: TensorRT, path: pathlib.Path, target: Target, errors: Sequence[str]) -> str:
    said = "; ".join(errors) or "it says nothing of why"
    return (
        f"{trt.flavour.title} {trt.version} builds no engine of {path.name} for {target.name}: "
        f"{said}"
    )
