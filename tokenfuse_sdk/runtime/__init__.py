"""Where a model runs: the devices, the choice among them, and its reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import ConfigError, DeviceError, PrecisionError
from tokenfuse_sdk.runtime import native_cpu, native_cuda
from tokenfuse_sdk.runtime.protocol import Capabilities, Runtime

__all__ = ["DEVICES", "Capabilities", "Placement", "Runtime", "open_runtime", "place"]

DEVICES = ("auto", "cpu", "cuda")
_PRECISIONS = {"cpu": native_cpu.PRECISIONS, "cuda": native_cuda.PRECISIONS}
_MAX_THREADS = 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a model will run.

    Attributes:
        device: "cpu" or "cuda", never "auto".
        precision: of the arithmetic.
        num_threads: None for what the machine allows this process.
        reason: why this device.
    """

    device: str
    precision: str
    num_threads: int | None
    reason: str


def place(
    device: str = "auto", precision: str | None = None, num_threads: int | None = None
) -> Placement:
    """Choose the device and check that it has what was asked for.

    Args:
        device: "auto", "cpu" or "cuda"; only "auto" lets us choose.
        precision: None for the device's own, which is "fp32" on a CPU.
        num_threads: 1 to 1,024; None for what affinity and cgroup allow.

    Raises:
        DeviceError: unknown, or not there; says why.
        PrecisionError: not offered on the device.
        ConfigError: `num_threads` is not in range.
    """
    if device not in DEVICES:
        raise DeviceError(f"device={device!r}: choose one of {', '.join(DEVICES)}")
    if device == "cuda":
        raise DeviceError(
            f"device='cuda' is not there: {native_cuda.unavailable_reason()}, and "
            f"{native_cuda.driver_state()}; use device='cpu' or device='auto'"
        )
    reason = "asked for"
    if device == "auto":
        device, reason = "cpu", f"auto: {native_cuda.unavailable_reason()}"
    allowed = _PRECISIONS[device]
    if precision is None:
        precision = allowed[0]
    if precision not in allowed:
        raise PrecisionError(
            f"precision={precision!r} is not offered on {device}; choose one of "
            f"{', '.join(allowed)}"
        )
    if num_threads is not None:
        is_int = isinstance(num_threads, int) and not isinstance(num_threads, bool)
        if not is_int or not 1 <= num_threads <= _MAX_THREADS:
            raise ConfigError(
                f"num_threads={num_threads!r}: need an integer from 1 to {_MAX_THREADS}, "
                "or None for what the machine allows"
            )
    return Placement(device=device, precision=precision, num_threads=num_threads, reason=reason)


def open_runtime(
    config: ModelConfig, weights: Mapping[str, NDArray[Any]], placement: Placement
) -> Runtime:
    """The runtime of a placement, with the weights packed.

    Raises:
        DeviceError: the compiled module does not load.
        ConfigError: TOKENFUSE_FORCE_ISA has a value that this machine does not allow.
        UnsupportedModelError: the engine has no such model.
    """
    assert placement.device == "cpu", placement
    return native_cpu.NativeCpuRuntime(
        config, weights, precision=placement.precision, num_threads=placement.num_threads
    )
