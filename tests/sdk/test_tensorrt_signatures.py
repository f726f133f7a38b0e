"""Our calls, and the emulators', beside the real packages: what needs no GPU to be right."""

from __future__ import annotations

import inspect
import re

import pytest
from emulated_cuda import EmulatedCuda, cudaDeviceAttr, cudaError_t, cudaMemcpyKind
from emulated_tensorrt import EmulatedContext, EmulatedEngine, EmulatedRuntimeConfig

from tokenfuse_sdk.errors import DeviceError
from tokenfuse_sdk.runtime.tensorrt.cuda import Cuda
from tokenfuse_sdk.runtime.tensorrt.engine import Engine
from tokenfuse_sdk.runtime.tensorrt.log import Log


def _parameters(function) -> list[str]:
    """Of a function of the package, by the first line of its documentation."""
    first = function.__doc__.strip().splitlines()[0]
    inside = first[first.index("(") + 1 : first.rindex(")")]
    # "size_t size", "attr: cudaDeviceAttr", "stream"
    return [part.split(":")[0].split()[-1] for part in inside.split(",") if part.strip()]


def test_every_call_of_cuda_has_the_arguments_that_the_package_takes(no_driver):
    cuda = Cuda(no_driver)
    calls = {
        "cudaGetDevice": lambda: cuda.current().__enter__(),
        "cudaGetDeviceCount": cuda.num_devices,
        "cudaDeviceGetAttribute": cuda.compute_capability,
        "cudaGetDeviceProperties": cuda.device_name,
        "cudaMalloc": lambda: cuda.allocate(256),
        "cudaFree": lambda: cuda.free(4096),
        "cudaMallocHost": lambda: cuda.allocate_pinned(256),
        "cudaFreeHost": lambda: cuda.free_pinned(4096),
        "cudaStreamCreateWithFlags": cuda.open_stream,
        "cudaStreamDestroy": lambda: cuda.close_stream(4096),
        "cudaMemcpyAsync": lambda: cuda.copy_in(4096, 8192, 16, 4096),
        "cudaMemcpyAsync ": lambda: cuda.copy_out(4096, 8192, 16, 4096),
        "cudaStreamSynchronize": lambda: cuda.wait(4096),
        "cudaEventCreateWithFlags": lambda: cuda.follow(4096, 8192),
        "cudaEventRecord": lambda: cuda._call("cudaEventRecord", no_driver.cudaEvent_t(0), 4096),
        "cudaStreamWaitEvent": lambda: cuda._call(
            "cudaStreamWaitEvent", 4096, no_driver.cudaEvent_t(0), 0
        ),
        "cudaEventDestroy": lambda: cuda._call("cudaEventDestroy", no_driver.cudaEvent_t(0)),
    }
    for name, call in calls.items():
        # A TypeError would be ours; this is CUDA's.
        with pytest.raises(
            DeviceError,
            match=rf"CUDA failed: {name.strip()}: cudaErrorInsufficientDriver \(CUDA driver",
        ):
            call()


def test_the_emulated_cuda_has_the_signatures_of_the_package(no_driver):
    names = [name for name in vars(EmulatedCuda) if name.startswith("cuda")]
    functions = [name for name in names if inspect.isfunction(vars(EmulatedCuda)[name])]
    assert len(functions) > 15
    for name in functions:
        ours = list(inspect.signature(getattr(EmulatedCuda, name)).parameters)[1:]
        assert _parameters(getattr(no_driver, name)) == ours, name
    for ours in (cudaError_t, cudaMemcpyKind, cudaDeviceAttr):
        theirs = getattr(no_driver, ours.__name__)
        assert all(int(getattr(theirs, one.name)) == one for one in ours)
    for name in ("cudaStreamNonBlocking", "cudaEventDisableTiming"):
        assert getattr(EmulatedCuda, name) == getattr(no_driver, name)


@pytest.fixture
def real_tensorrt():
    return pytest.importorskip(
        "tensorrt_rtx_bindings", reason="needs the package tensorrt-rtx-cu13-bindings"
    )


def test_the_emulated_tensorrt_has_the_methods_of_the_real_one(real_tensorrt):
    pairs = (
        (EmulatedEngine, "ICudaEngine"),
        (EmulatedContext, "IExecutionContext"),
        (EmulatedRuntimeConfig, "IRuntimeConfig"),
    )
    for ours, name in pairs:
        theirs = getattr(real_tensorrt, name)
        methods = [m for m, one in vars(ours).items() if inspect.isfunction(one) and m[0] != "_"]
        for method in methods:
            text = getattr(theirs, method).__doc__
            wanted = [
                re.findall(r"(\w+): ", line.split("self: ", 1)[1].split(" -> ")[0])
                for line in text.splitlines()
                if f"{method}(self: " in line
            ]
            given = list(inspect.signature(getattr(ours, method)).parameters)[1:]
            assert any(given == names[: len(given)] for names in wanted), (method, given, wanted)
    for attribute in ("num_io_tensors", "num_optimization_profiles", "device_memory_size_v2"):
        assert hasattr(real_tensorrt.ICudaEngine, attribute)


def test_what_is_no_engine_is_refused_by_tensorrt_and_nothing_is_printed(real_tensorrt, capfd):
    log = Log(real_tensorrt)
    runtime = real_tensorrt.Runtime(log.logger)
    with pytest.raises(DeviceError, match=r"cannot load decoder\.engine: .*ngine.*build it again"):
        Engine(real_tensorrt, runtime, memoryview(bytes(4096)), name="decoder.engine", log=log)
    assert capfd.readouterr() == ("", "")
