"""From a verified bundle and a placement to a runtime, by whichever backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenfuse_sdk.native import load_native
from tokenfuse_sdk.runtime.graphs.runtime import GraphRuntime
from tokenfuse_sdk.runtime.onnxruntime import BATCHES, OnnxRuntimeExecutor
from tokenfuse_sdk.runtime.placement import Placement, open_runtime
from tokenfuse_sdk.runtime.protocol import Capabilities, Runtime
from tokenfuse_sdk.runtime.tensorrt import open_engines

if TYPE_CHECKING:
    # Reading bundles takes Pillow and the tokenizer library, which a runtime does without.
    from tokenfuse_sdk.bundle import Bundle

__all__ = ["open_bundle"]


def open_bundle(bundle: Bundle, placement: Placement) -> Runtime:
    """The runtime of a placement whose precision is chosen.

    Raises:
        BundleError: a file of the bundle that the backend needs is damaged, hostile or of
            another model.
        Others: as of `open_runtime`.
    """
    if placement.backend == "onnxruntime":
        return _open_onnxruntime(bundle, placement)
    if placement.backend == "tensorrt":
        return _open_tensorrt(bundle, placement)
    return open_runtime(bundle.config, bundle.weights, placement)


def _open_tensorrt(bundle: Bundle, placement: Placement) -> Runtime:
    assert placement.precision is not None, placement
    opened = open_engines(bundle, placement.precision)
    capabilities = Capabilities(
        runtime="tensorrt",
        device=placement.device,
        precision=placement.precision,
        isa=opened.key.target,
        num_threads=0,
        token_map=opened.token_map,
        device_pictures=True,
        token_budgets=opened.key.budgets,
    )
    return GraphRuntime(bundle.config, opened.executor, capabilities, batches=opened.key.batches)


def _open_onnxruntime(bundle: Bundle, placement: Placement) -> Runtime:
    precision = placement.precision
    assert precision is not None, placement
    group = f"onnx/{precision}"
    files = bundle.open_group(group)
    num_threads = placement.num_threads or load_native().default_num_threads()
    executor = OnnxRuntimeExecutor(
        {name: file.data for name, file in files.items()},
        providers=placement.providers,
        num_threads=num_threads,
        folder=bundle.path / group,
    )
    # They were verified first and read then.
    for file in files.values():
        file.check_unchanged()
    capabilities = Capabilities(
        runtime="onnxruntime",
        device=placement.device,
        precision=precision,
        isa="",
        num_threads=num_threads if placement.device == "cpu" else 0,
        token_map=True,
    )
    return GraphRuntime(bundle.config, executor, capabilities, batches=BATCHES)
