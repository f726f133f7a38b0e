"""Where a model runs: the devices, the choice among them, and its reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import ConfigError, DeviceError, PrecisionError
from tokenfuse_sdk.graphs import GRAPH_PRECISIONS
from tokenfuse_sdk.integers import integer_in
from tokenfuse_sdk.runtime import native_cpu, native_cuda, tensorrt
from tokenfuse_sdk.runtime.onnx_providers import choose_providers
from tokenfuse_sdk.runtime.protocol import Runtime

__all__ = [
    "BACKENDS",
    "DEVICES",
    "PRECISIONS",
    "Placement",
    "graph_precisions",
    "open_runtime",
    "place",
]

BACKENDS = ("native", "onnxruntime", "tensorrt")
DEVICES = ("auto", "cpu", "cuda")
# Of the native engines by device, from the most exact one on.
PRECISIONS = {"cpu": native_cpu.PRECISIONS, "cuda": native_cuda.PRECISIONS}
_GPU = native_cuda.PRECISIONS
_MAX_THREADS = 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a model will run.

    Attributes:
        backend: one of `BACKENDS`: whose code computes.
        device: "cpu" or "cuda", never "auto"; for a provider of ONNX Runtime that is neither, its
            name.
        device_reason: why this device.
        precision: of the arithmetic; None until `choose_precision` has seen the bundle.
        precision_reason: why this precision.
        num_threads: None for what the machine allows this process.
        providers: of ONNX Runtime, the preferred one first; none for other backends.
    """

    backend: str
    device: str
    device_reason: str
    precision: str | None
    precision_reason: str
    num_threads: int | None
    providers: tuple[str, ...] = ()


def place(
    device: str = "auto",
    precision: str | None = None,
    num_threads: int | None = None,
    *,
    backend: str = "native",
    providers: Sequence[str] | None = None,
) -> Placement:
    """Choose the device and check that it has what was asked for, before a bundle is read.

    Args:
        device: "auto", "cpu" or "cuda"; only "auto" lets us choose.
        precision: None leaves it to `choose_precision`.
        num_threads: of a CPU, 1 to 1,024; None for what affinity and cgroup allow.
        backend: one of `BACKENDS`.
        providers: of ONNX Runtime alone; None for the device's own.

    Raises:
        DeviceError: unknown, or not there; says why.
        PrecisionError: not offered on the device.
        ConfigError: `backend` is unknown, `num_threads` is not in range, or `providers` does not
            fit.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend={backend!r}: choose one of {', '.join(BACKENDS)}")
    if providers is not None and backend != "onnxruntime":
        raise ConfigError(
            f"providers={providers!r} are of ONNX Runtime; pass backend='onnxruntime' with them"
        )
    if device not in DEVICES:
        raise DeviceError(f"device={device!r}: choose one of {', '.join(DEVICES)}")
    names: tuple[str, ...] = ()
    if backend == "onnxruntime":
        chosen = choose_providers(device, providers)
        device, reason, names = chosen.device, chosen.reason, chosen.names
        _check_graph_precision(precision, device)
    elif backend == "tensorrt":
        device, reason = _tensorrt_device(device, precision)
    else:
        device, reason = _native_device(device, precision)
    return Placement(
        backend=backend,
        device=device,
        device_reason=reason,
        precision=precision,
        precision_reason="asked for" if precision else "auto: not chosen yet",
        num_threads=_checked_threads(num_threads),
        providers=names,
    )


def _native_device(device: str, precision: str | None) -> tuple[str, str]:
    """The device of the native engines, and why."""
    no_cuda = native_cuda.unavailable_reason() if device != "cpu" else None
    if device == "cuda" and no_cuda is not None:
        raise DeviceError(
            f"device='cuda' is not there: {no_cuda}; use device='cpu' or device='auto'"
        )
    reason = "asked for"
    if device == "auto":
        device, reason = _chosen_device(precision, no_cuda)
    allowed = PRECISIONS[device]
    if precision is not None and precision not in allowed:
        only = f" (a GPU has it, but {no_cuda})" if no_cuda and precision in _GPU else ""
        raise PrecisionError(
            f"precision={precision!r} is not offered on {device}{only}; choose one of "
            f"{', '.join(allowed)}, or None, which leaves the choice to us"
        )
    return device, reason


def _tensorrt_device(device: str, precision: str | None) -> tuple[str, str]:
    """The device of TensorRT, which is a GPU, and why."""
    if device == "cpu":
        raise DeviceError(
            "backend='tensorrt' runs on a GPU, not on device='cpu'; use device='cuda' or 'auto', "
            "or backend='native' or 'onnxruntime' on a CPU"
        )
    if precision is not None and precision not in tensorrt.PRECISIONS:
        raise PrecisionError(
            f"precision={precision!r} is not offered by tensorrt; choose one of "
            f"{', '.join(tensorrt.PRECISIONS)}, or None, which takes the most exact one of the "
            "bundle's engines"
        )
    lacking = tensorrt.unavailable_reason()
    if lacking is not None:
        raise DeviceError(f"backend='tensorrt' cannot run here: {lacking}")
    return "cuda", "asked for" if device == "cuda" else "auto: TensorRT runs on a GPU alone"


def _check_graph_precision(precision: str | None, device: str) -> None:
    allowed = graph_precisions(device)
    if precision is None or precision in allowed:
        return
    why = " (ONNX Runtime has no product in bf16 there)" if precision in GRAPH_PRECISIONS else ""
    raise PrecisionError(
        f"precision={precision!r} is not offered by onnxruntime on {device}{why}; choose one of "
        f"{', '.join(allowed)}, or None, which takes the most exact one of the bundle"
    )


def graph_precisions(device: str) -> tuple[str, ...]:
    """Precisions that ONNX Runtime has on a device, from the most exact one on."""
    return tuple(name for name in GRAPH_PRECISIONS if device != "cpu" or name != "bf16")


def _checked_threads(num_threads: int | None) -> int | None:
    if num_threads is None:
        return None
    checked = integer_in(num_threads, 1, _MAX_THREADS)
    if checked is None:
        raise ConfigError(
            f"num_threads={num_threads!r}: need an integer from 1 to {_MAX_THREADS}, "
            "or None for what the machine allows"
        )
    return checked


def _chosen_device(precision: str | None, no_cuda: str | None) -> tuple[str, str]:
    """What "auto" takes, and why: a GPU, unless it lacks the precision that was asked for."""
    if no_cuda is not None:
        return "cpu", f"auto: {no_cuda}"
    if precision in PRECISIONS["cpu"] and precision not in PRECISIONS["cuda"]:
        return "cpu", f"auto: {precision} was asked for, which the CUDA engine has not"
    return "cuda", "auto: it is there"


def open_runtime(
    config: ModelConfig, weights: Mapping[str, NDArray[Any]], placement: Placement
) -> Runtime:
    """The native runtime of a placement whose precision is chosen, with the weights packed.

    Raises:
        DeviceError: the compiled module does not load, or the device fails.
        ConfigError: TOKENFUSE_FORCE_ISA has a value that this machine does not allow.
        UnsupportedModelError: the engine has no such model.
    """
    assert placement.precision is not None, placement
    if placement.device == "cuda":
        return native_cuda.NativeCudaRuntime(config, weights, precision=placement.precision)
    return native_cpu.NativeCpuRuntime(
        config, weights, precision=placement.precision, num_threads=placement.num_threads
    )
