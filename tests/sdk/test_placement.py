"""Which device is chosen, and why, with a GPU that is there, or there in name alone."""

from __future__ import annotations

import sys
import types

import pytest

from tokenfuse_sdk import errors
from tokenfuse_sdk.bundle import read_bundle
from tokenfuse_sdk.cuda_module import unavailable_reason
from tokenfuse_sdk.runtime import choose_precision, native_cuda, place


@pytest.fixture
def gpu(monkeypatch):
    """A module that sees a GPU; attributes of it can be changed."""
    module = types.ModuleType("tokenfuse_sdk._cuda")
    module.__spec__ = types.SimpleNamespace()
    module.CudaError = type("CudaError", (RuntimeError,), {})
    module.device_count = lambda: 1
    module.has_code = lambda: True
    module.device_info = lambda: {"name": "Some GPU", "compute_capability": 87}
    monkeypatch.setitem(sys.modules, "tokenfuse_sdk._cuda", module)
    return module


@pytest.mark.parametrize(
    ("precision", "device"),
    [(None, "cuda"), ("fp16", "cuda"), ("bf16", "cuda"), ("fp32", "cpu"), ("int8", "cpu")],
)
@pytest.mark.usefixtures("gpu")
def test_auto_takes_a_device_that_has_the_precision(precision, device):
    placement = place("auto", precision)
    assert (placement.device, placement.precision) == (device, precision)
    lacking = f"auto: {precision} was asked for, which the CUDA engine has not"
    assert placement.device_reason == ("auto: it is there" if device == "cuda" else lacking)


@pytest.mark.parametrize(
    ("device", "precision", "match"),
    [
        ("cuda", "int8", "'int8' is not offered on cuda; choose one of fp16, bf16"),
        ("cpu", "fp16", "'fp16' is not offered on cpu; choose one of fp32, bf16, int8"),
        ("auto", "int4", "'int4' is not offered on cuda"),
    ],
)
@pytest.mark.usefixtures("gpu")
def test_a_device_that_was_asked_for_stays(device, precision, match):
    with pytest.raises(errors.PrecisionError, match=match):
        place(device, precision)


def test_a_precision_of_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(native_cuda, "unavailable_reason", lambda: "no CUDA device is there")
    with pytest.raises(errors.PrecisionError, match="a GPU has it, but no CUDA device is there"):
        place("auto", "fp16")


@pytest.mark.usefixtures("gpu")
def test_the_precision_of_a_gpu(bundle):
    read = read_bundle(bundle)
    chosen = choose_precision(place("cuda"), read)
    assert chosen.precision == "fp16"
    assert chosen.precision_reason == "auto: fp16 is the most exact that the CUDA engine has"
    assert choose_precision(place("cuda", "bf16"), read).precision_reason == "asked for"


def test_a_gpu_that_the_build_has_no_code_for(gpu):
    assert unavailable_reason() is None
    gpu.has_code = lambda: False
    assert "built for other GPUs than Some GPU, compute capability 8.7" in unavailable_reason()
    gpu.device_info = lambda: {"name": "Old GPU", "compute_capability": 75}
    assert unavailable_reason() == "Old GPU has compute capability 7.5; the CUDA engine needs 8.0"
    assert place("auto").device == "cpu"
    with pytest.raises(errors.DeviceError, match=r"'cuda' is not there: Old GPU .* device='cpu'"):
        place("cuda")


def test_a_gpu_that_fails_is_not_there(gpu):
    def fail():
        raise gpu.CudaError("cudaGetDevice: out of order")

    gpu.has_code = fail
    assert unavailable_reason() == "CUDA failed: cudaGetDevice: out of order"
