"""From a bundle's engines to an executor: found, their key checked, and only then loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tokenfuse_sdk.engine_file import EngineFile
from tokenfuse_sdk.engine_key import (
    ENGINE_PRECISIONS,
    EngineKey,
    engine_group,
    graph_sha256,
    this_system,
)
from tokenfuse_sdk.errors import DeviceError
from tokenfuse_sdk.graphs import GRAPHS, fused_cache, known_cache, text_lengths
from tokenfuse_sdk.runtime.tensorrt.availability import device_target, open_device
from tokenfuse_sdk.runtime.tensorrt.engine import Engine
from tokenfuse_sdk.runtime.tensorrt.executor import TensorRTExecutor
from tokenfuse_sdk.runtime.tensorrt.flavours import FLAVOURS, load_flavour
from tokenfuse_sdk.runtime.tensorrt.log import Log

if TYPE_CHECKING:
    from types import ModuleType

    # Reading bundles takes Pillow and the tokenizer library, which a runtime does without.
    from tokenfuse_sdk.bundle import Bundle
    from tokenfuse_sdk.config import ModelConfig
    from tokenfuse_sdk.mapped_file import MappedFile

__all__ = ["OpenEngines", "check_engines", "key_here", "open_engines"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OpenEngines:
    """Loaded engines.

    Attributes:
        executor: runs them.
        key: of what they were made.
        token_map: whether the image encoder gives it; engines may be built without.
    """

    executor: TensorRTExecutor
    key: EngineKey
    token_map: bool


def open_engines(bundle: Bundle, precision: str) -> OpenEngines:
    """Load the engines of a bundle for this machine's GPU.

    Args:
        bundle: that has them.
        precision: of `choose_precision`.

    Raises:
        BundleError: a file of theirs is damaged.
        EngineKeyError: they were made for other than what is here; names each difference.
        DeviceError: their TensorRT is not installed, or cannot load them.
    """
    cuda = open_device()
    group = engine_group(device_target(cuda), precision)
    files = bundle.open_group(group)
    key, module = _checked_key(bundle, files, precision, device_target(cuda))
    log = Log(module)
    with cuda.current():
        runtime = module.Runtime(log.logger)
        engines = {
            graph: Engine(
                module,
                runtime,
                files[f"{graph}.engine"].data,
                name=f"{group}/{graph}.engine",
                log=log,
                keep_kernels=FLAVOURS[key.flavour].compiles_kernels,
            )
            for graph in GRAPHS
        }
    # They were verified first and read then.
    for file in files.values():
        file.check_unchanged()
    for graph, inputs in _inputs(bundle.config).items():
        if set(engines[graph].inputs) != inputs:
            raise DeviceError(
                f"{group}/{graph}.engine has the inputs {', '.join(engines[graph].inputs)}; the "
                f"graph has {', '.join(sorted(inputs))}: `{key.build_command(bundle.path)}`"
            )
    return OpenEngines(
        executor=TensorRTExecutor(engines, key, cuda, bundle.path),
        key=key,
        token_map="weights_BNS" in engines["image_encoder"].outputs,
    )


def check_engines(bundle: Bundle, name: str) -> None:
    """Check that engines of a bundle are for what is here, without loading them.

    Args:
        bundle: that has them.
        name: one of `Bundle.engine_names`.

    Raises:
        As `open_engines`.
    """
    files = bundle.open_group(f"engines/{name}")
    precision = name.rpartition("-")[2]
    _checked_key(bundle, files, precision, device_target(open_device()))


def _checked_key(
    bundle: Bundle, files: Mapping[str, MappedFile], precision: str, target: str
) -> tuple[EngineKey, ModuleType]:
    """The key of a group's files, which fits what is here, and its TensorRT."""
    key = EngineFile.of_group(files).key
    module = load_flavour(key.flavour)
    here = key_here(key, bundle, version=module.__version__, target=target, precision=precision)
    key.check(here, bundle.path)
    return key, module


def key_here(
    key: EngineKey, bundle: Bundle, *, version: str, target: str, precision: str
) -> EngineKey:
    """The key that these engines would have if they were built here, of this bundle.

    Batches and budgets are theirs to choose; graphs that the bundle does not hold cannot be
    compared.
    """
    os, arch = this_system()
    hashes = {graph: _graph_hash(bundle, precision, graph) for graph in GRAPHS}
    return dataclasses.replace(
        key,
        version=version,
        target=target,
        os=os,
        arch=arch,
        precision=precision,
        text_lengths=text_lengths(bundle.config),
        onnx_sha256={graph: hashes[graph] or key.onnx_sha256[graph] for graph in GRAPHS},
        weights_sha256=bundle.digest,
    )


def _graph_hash(bundle: Bundle, precision: str, graph: str) -> str | None:
    entries = bundle.manifest.files
    name = f"onnx/{ENGINE_PRECISIONS[precision]}/{graph}.onnx"
    if name not in entries:
        return None
    data = entries.get(f"{name}.data")
    return graph_sha256(entries[name].sha256, data.sha256 if data is not None else None)


def _inputs(config: ModelConfig) -> Mapping[str, set[str]]:
    return {
        "image_encoder": {"image_BHW3"},
        "text_fusion": {"f_BND", "text_BL"},
        "decoder": {"answer_BA", *known_cache(config), *fused_cache(config)},
    }
