"""From a name or a path to a model: found, placed, verified, packed."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tokenfuse_sdk.bundle import read_bundle
from tokenfuse_sdk.errors import BundleMissingFileError
from tokenfuse_sdk.model.model import Model
from tokenfuse_sdk.runtime import choose_precision, place
from tokenfuse_sdk.shipped import find_bundle, shipped_models

__all__ = ["load"]


def load(
    model: str | os.PathLike[str],
    *,
    backend: str = "native",
    device: str = "auto",
    precision: str | None = None,
    token_budget: int | None = None,
    num_threads: int | None = None,
    providers: Sequence[str] | None = None,
) -> Model:
    """Load a model, verified, and make it ready on a device.

    Args:
        model: the name of a shipped model, or the path of a bundle ("./scenes-nano"
            where a folder has a shipped model's name).
        backend: "native" for our own engines, "onnxruntime" for the ONNX graphs that
            `tokenfuse export` puts into a bundle, "tensorrt" for the engines that `tokenfuse
            build` does. All give the same answers.
        device: "cpu", "cuda", or "auto", which alone may choose; read it back from
            `Model.device`.
            A precision that one device alone has decides for "auto".
        precision: of the native engine on a CPU "fp32", "bf16" (weights of linears in bfloat16)
            or "int8" (linears in 8 bits); None for the fastest here of those that answer like
            fp32, by the bundle's record, and for fp32 where it has none. On a GPU "fp16" or
            "bf16"; None for fp16. Of ONNX Runtime and TensorRT one that the bundle has graphs or
            engines of; None for the most exact one. Read it back from `Model.precision`, and why
            from `Model.info`.
        token_budget: N, how many tokens a picture and a question are merged to when a
            call does not say; one of the model's budgets, None for the largest that there is. Fewer
            are faster and less accurate; the model card says how much.
        num_threads: that one call uses on a CPU; None for what affinity and cgroup allow. A
            GPU has no use for it.
        providers: ONNX Runtime's execution providers, taken literally, in this order; None for
            the device's own, and nothing else: the CPU computes what a provider does not have
            only where "CPUExecutionProvider" is named too.

    Raises:
        BundleError: the bundle is missing, damaged or hostile; its kinds say which.
        BundleMissingFileError: ONNX Runtime was asked for and the bundle has no graphs.
        DeviceError: the device, a provider, ONNX Runtime or TensorRT itself is not there, or the
            bundle has no engines for the device; says why.
        EngineKeyError: the engines were made for other than what is here; a DeviceError.
        PrecisionError, TokenBudgetError, ConfigError: a value that is not offered, in the
            environment variable TOKENFUSE_FORCE_ISA too.
        UnsupportedModelError: the backend cannot run such a model.
    """
    folder = find_bundle(model)
    placement = place(device, precision, num_threads, backend=backend, providers=providers)
    if not folder.exists() and not folder.is_symlink():
        raise BundleMissingFileError(
            f"there is no bundle at {folder}; pass the path of one, or the name of a shipped "
            f"model as text: {', '.join(shipped_models()) or 'none in this installation'}"
        )
    bundle = read_bundle(folder)
    return Model(bundle, choose_precision(placement, bundle), token_budget=token_budget)
