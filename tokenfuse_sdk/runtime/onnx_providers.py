"""Which of ONNX Runtime's execution providers run a model, and as what device."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tokenfuse_sdk.errors import ConfigError, DeviceError
from tokenfuse_sdk.runtime.onnxruntime import CPU, CUDA, ON_CUDA, load_onnxruntime

__all__ = ["Providers", "choose_providers"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Providers:
    """What was chosen.

    Attributes:
        device: "cpu", "cuda", or a provider's name where it is neither.
        reason: why.
        names: of the providers, the preferred one first.
    """

    device: str
    reason: str
    names: tuple[str, ...]


def choose_providers(device: str, providers: Sequence[str] | None) -> Providers:
    """The providers of a device, or those that were named, in their order and no others.

    Args:
        device: "auto", "cpu" or "cuda"; with `providers` it must be theirs.
        providers: names of ONNX Runtime; None for the device's own.

    Raises:
        DeviceError: ONNX Runtime or a provider is not there; says what is.
        ConfigError: `providers` is no list of names, or contradicts `device`.
    """
    names = None if providers is None else _checked(providers)
    module = load_onnxruntime()
    there = module.get_available_providers()
    if names is None:
        return _of_device(module, device, there)
    missing = [name for name in names if name not in there]
    if missing:
        raise DeviceError(
            f"this onnxruntime {module.__version__} has no {', '.join(missing)}; it has "
            f"{', '.join(there)}"
        )
    theirs = "cpu" if names[0] == CPU else "cuda" if names[0] in ON_CUDA else names[0]
    if device not in ("auto", theirs):
        raise ConfigError(
            f"device={device!r}, but {names[0]} runs on {theirs}; pass providers alone"
        )
    return Providers(device=theirs, reason=f"asked for: {', '.join(names)}", names=names)


def _checked(providers: Sequence[str]) -> tuple[str, ...]:
    is_list = isinstance(providers, list | tuple)
    if not is_list or not providers or not all(isinstance(name, str) for name in providers):
        raise ConfigError(
            f"providers={providers!r}: need a list of one name or more, such as [{CPU!r}]"
        )
    if len(set(providers)) < len(providers):
        raise ConfigError(f"providers={providers!r} names one twice; name each once")
    return tuple(providers)


def _of_device(module: Any, device: str, there: Sequence[str]) -> Providers:
    if device == "cpu":
        return Providers(device="cpu", reason="asked for", names=(CPU,))
    no_cuda = None
    if CUDA not in there:
        no_cuda = f"onnxruntime {module.__version__} has no {CUDA} (it has {', '.join(there)})"
    if device == "cuda":
        if no_cuda is not None:
            raise DeviceError(
                f"device='cuda' is not there: {no_cuda}; install onnxruntime-gpu in its place, "
                "or use device='cpu'"
            )
        return Providers(device="cuda", reason="asked for", names=(CUDA,))
    no_cuda = no_cuda or _why_no_cuda(module)
    if no_cuda is not None:
        return Providers(device="cpu", reason=f"auto: {no_cuda}", names=(CPU,))
    return Providers(device="cuda", reason=f"auto: {CUDA} is there", names=(CUDA,))


def _why_no_cuda(module: Any) -> str | None:
    """Why a build with CUDA finds no GPU here, or None where one takes a value."""
    try:
        module.OrtValue.ortvalue_from_numpy(np.zeros(1, np.float32), "cuda", 0)
    except Exception as error:  # Its errors share no base.
        return f"{CUDA} does not start: {str(error).strip().splitlines()[0]}"
    return None
