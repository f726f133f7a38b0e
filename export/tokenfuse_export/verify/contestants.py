"""Who is compared with the reference: a way to open each, or why it cannot run here."""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib
from collections.abc import Callable, Iterator

from tokenfuse_export.verify.evaluator import EvaluatorExecutor
from tokenfuse_export.verify.openvino import OpenVinoExecutor, load_openvino
from tokenfuse_export.verify.trace import Compared
from tokenfuse_sdk.bundle import Bundle
from tokenfuse_sdk.bundle.files import read_file
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.engine_file import ENGINE_FILE, EngineFile
from tokenfuse_sdk.engine_key import EngineKey
from tokenfuse_sdk.errors import DeviceError, PrecisionError, UnsupportedModelError
from tokenfuse_sdk.mapped_file import map_plain_file
from tokenfuse_sdk.runtime import place
from tokenfuse_sdk.runtime.graphs import GraphExecutor, GraphRuntime
from tokenfuse_sdk.runtime.onnxruntime import OnnxRuntimeExecutor
from tokenfuse_sdk.runtime.opening import open_bundle
from tokenfuse_sdk.runtime.placement import PRECISIONS, Placement, graph_precisions
from tokenfuse_sdk.runtime.protocol import Capabilities
from tokenfuse_sdk.runtime.tensorrt.flavours import installed_flavours

__all__ = ["Contestant", "NotHereError", "contestants_of", "graph_contestants"]

_MOST_BYTES = 8 << 30


class NotHereError(Exception):
    """A runtime is not here, or has not what it needs: no fault of the model's."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """As `Row` has it; `open` raises NotHereError where it cannot run, and others if it should.

    `token_budgets`: None for all of the model's.
    """

    runtime: str
    where: str
    precision: str
    open: Callable[[], Compared]
    token_budgets: tuple[int, ...] | None = None


def contestants_of(bundle: Bundle) -> Iterator[Contestant]:
    """All that may run a bundle, in the order of `RUNTIMES`."""
    for device, precisions in PRECISIONS.items():
        for precision in precisions:
            yield _native(bundle, device, precision)
    yield from _with_graphs(bundle, "onnxruntime", _open_onnxruntime)
    yield from _with_graphs(bundle, "openvino", _open_openvino)
    yield from _tensorrt(bundle)


def _native(bundle: Bundle, device: str, precision: str) -> Contestant:
    def open_it() -> Compared:
        placement = _placed(device, precision, "native")
        try:
            return open_bundle(bundle, placement)
        except UnsupportedModelError as error:
            # An engine that has no models of this kind; a device that fails is a failure.
            raise NotHereError(str(error)) from error

    return Contestant(runtime="native", where=device, precision=precision, open=open_it)


def _placed(device: str, precision: str, backend: str) -> Placement:
    """Where it would run; what fails from then on is no lack of a device."""
    try:
        return place(device, precision, backend=backend)
    except (DeviceError, PrecisionError) as error:
        raise NotHereError(str(error)) from error


def _absent(runtime: str, reason: str, where: str = "") -> Contestant:
    def open_it() -> Compared:
        raise NotHereError(reason)

    return Contestant(runtime=runtime, where=where, precision="", open=open_it)


def _with_graphs(
    bundle: Bundle, runtime: str, opened: Callable[[Bundle, str], Compared]
) -> Iterator[Contestant]:
    for precision in bundle.onnx_precisions:
        yield Contestant(
            runtime=runtime,
            where="cpu",
            precision=precision,
            open=lambda precision=precision: opened(bundle, precision),  # type: ignore[misc]
        )
    if not bundle.onnx_precisions:
        yield _absent(runtime, "the bundle has no graphs: `tokenfuse export` adds them", "cpu")


def _open_onnxruntime(bundle: Bundle, precision: str) -> Compared:
    return open_bundle(bundle, _placed("cpu", precision, "onnxruntime"))


def _open_openvino(bundle: Bundle, precision: str) -> Compared:
    # Verified, and then read by their names: it cannot take weights from memory.
    bundle.open_group(f"onnx/{precision}")
    return _openvino_runtime(bundle.config, bundle.path / "onnx" / precision, precision)


def _openvino_runtime(config: ModelConfig, folder: pathlib.Path, precision: str) -> Compared:
    try:
        load_openvino()
    except DeviceError as error:
        raise NotHereError(str(error)) from error
    return _graph_runtime(config, OpenVinoExecutor(folder), precision)


def _graph_runtime(config: ModelConfig, executor: GraphExecutor, precision: str) -> GraphRuntime:
    facts = Capabilities(
        runtime="graphs", device="cpu", precision=precision, isa="", num_threads=0, token_map=True
    )
    return GraphRuntime(config, executor, facts)


def _tensorrt(bundle: Bundle) -> Iterator[Contestant]:
    for name in bundle.engine_names:
        target, precision = name.split("-")
        key = _key_of(bundle, f"engines/{name}/{ENGINE_FILE}")
        yield Contestant(
            runtime="tensorrt",
            where=target,
            precision=precision,
            open=lambda t=target, p=precision, f=key.flavour: _open_tensorrt(  # type: ignore[misc]
                bundle, t, p, f
            ),
            token_budgets=key.budgets,
        )
    if not bundle.engine_names:
        yield _absent("tensorrt", "the bundle has no engines: `tokenfuse build` adds them")


def _key_of(bundle: Bundle, name: str) -> EngineKey:
    """What engines were built for, without a look at them."""
    entry = bundle.manifest.files[name]
    return EngineFile.from_json(read_file(bundle.path / name, entry.size, entry)).key


def _open_tensorrt(bundle: Bundle, target: str, precision: str, flavour: str) -> Compared:
    from tokenfuse_sdk.runtime import tensorrt

    placement = _placed("cuda", precision, "tensorrt")
    here = tensorrt.device_target(tensorrt.open_device())
    if here != target:
        raise NotHereError(f"the engines are for {target}, the device is {here}")
    if flavour not in installed_flavours():
        raise NotHereError(f"the engines are of {flavour}, which is not installed")
    # They are for what is here: whatever keeps them from running is a failure.
    return open_bundle(bundle, placement)


def graph_contestants(
    config: ModelConfig, folder: pathlib.Path, precision: str
) -> Iterator[Contestant]:
    """Who reads ONNX files from a folder."""

    def onnxruntime() -> Compared:
        placement = _placed("cpu", precision, "onnxruntime")
        files = {
            path.name: map_plain_file(path, max_bytes=_MOST_BYTES) for path in folder.iterdir()
        }
        executor = OnnxRuntimeExecutor(
            {name: file.data for name, file in files.items()},
            providers=placement.providers,
            num_threads=0,
            folder=folder,
        )
        return _graph_runtime(config, executor, precision)

    def evaluator() -> Compared:
        if precision in graph_precisions("cpu") or importlib.util.find_spec("openvino"):
            raise NotHereError("it is slow, and runs where no other runtime here can")
        return _graph_runtime(config, EvaluatorExecutor(folder), precision)

    ways: dict[str, Callable[[], Compared]] = {
        "onnxruntime": onnxruntime,
        "openvino": lambda: _openvino_runtime(config, folder, precision),
        "evaluator": evaluator,
    }
    for runtime, opened in ways.items():
        yield Contestant(runtime=runtime, where="cpu", precision=precision, open=opened)
