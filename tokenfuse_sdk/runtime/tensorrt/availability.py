"""What TensorRT needs of a machine, and what of it is missing here."""

from __future__ import annotations

from tokenfuse_sdk.errors import DeviceError
from tokenfuse_sdk.runtime.tensorrt.cuda import Cuda, load_bindings
from tokenfuse_sdk.runtime.tensorrt.flavours import INSTALL, installed_flavours

__all__ = ["device_name", "device_target", "open_device", "unavailable_reason"]


def unavailable_reason() -> str | None:
    """All that `backend="tensorrt"` lacks here, and what to do; None where it lacks nothing."""
    lacking = [_no_flavour(), _no_device()]
    return "; ".join(reason for reason in lacking if reason is not None) or None


def open_device() -> Cuda:
    """The GPU; `unavailable_reason` says beforehand whether there is one.

    Raises:
        DeviceError: there is none.
    """
    reason = _no_device()
    if reason is not None:
        raise DeviceError(reason)
    return Cuda(load_bindings())


def device_target(cuda: Cuda) -> str:
    """What engines are built for it: "sm_86"."""
    major, minor = cuda.compute_capability()
    return f"sm_{major}{minor}"


def device_name(cuda: Cuda) -> str:
    """The GPU and its driver, in words."""
    driver = _version(cuda.driver_version())
    return f"{cuda.device_name()} ({device_target(cuda)}), driver for CUDA {driver}"


def _no_flavour() -> str | None:
    if installed_flavours():
        return None
    return f"no TensorRT is installed (neither tensorrt nor tensorrt_rtx): {INSTALL}"


def _no_device() -> str | None:
    try:
        cuda = Cuda(load_bindings())
    except ImportError as error:
        return f"the package cuda-bindings is not installed ({error}): {INSTALL}"
    try:
        driver, runtime = cuda.driver_version(), cuda.runtime_version()
        if driver == 0:
            return (
                "no NVIDIA driver is installed (cudaDriverGetVersion says 0): install NVIDIA's "
                "driver, and in a container give it the GPU"
            )
        if driver // 1000 < runtime // 1000:
            return (
                f"the NVIDIA driver is one for CUDA {_version(driver)}, and cuda-bindings is for "
                f"{_version(runtime)}: update the driver, or `pip install "
                f"'cuda-bindings=={driver // 1000}.*'`"
            )
        if cuda.num_devices() == 0:
            return "the NVIDIA driver shows no device: look at CUDA_VISIBLE_DEVICES"
    except DeviceError as error:
        return str(error)
    return None


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
