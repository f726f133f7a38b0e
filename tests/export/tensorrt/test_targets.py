"""Targets, and the flavours of TensorRT that are or are not there."""

from __future__ import annotations

import dataclasses
import importlib.machinery
import re
import sys
import types

import pytest

from tokenfuse_export.errors import EngineBuildError, TargetError
from tokenfuse_export.tensorrt.builder import build_engine
from tokenfuse_export.tensorrt.flavours import FLAVOURS, TensorRT, find_tensorrt
from tokenfuse_export.tensorrt.profiles import profiles_of
from tokenfuse_export.tensorrt.targets import (
    Target,
    check_precision,
    current_target,
    resolve_targets,
)
from tokenfuse_sdk.bundle import read_bundle
from tokenfuse_sdk.errors import PrecisionError

MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")


def _module(name: str, version: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__version__ = version
    return module


def test_targets_are_those_that_the_module_names(trt):
    named = [name for name in trt.module.ComputeCapability.__members__ if name.startswith("SM")]
    asked = [f"sm_{name[2:]}" for name in named]
    assert {"sm_75", "sm_80", "sm_86", "sm_89", "sm_120"} <= set(asked)
    found = resolve_targets(trt, asked)
    assert [(target.name, target.capability) for target in found] == list(
        zip(asked, named, strict=True)
    )


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ([], "no target"),
        (["86"], "compute capability as sm_86"),
        (["SM86"], "compute capability as sm_86"),
        (["sm_86 "], "compute capability as sm_86"),
        (["sm_1234"], "compute capability as sm_86"),
        ([86], "compute capability as sm_86"),
        (["sm_86", "sm_86"], "twice"),
        (["sm_99"], "builds for sm_75, .*sm_120.*not for sm_99; name one of these"),
        (["sm_86", "sm_87"], "sm_87, which is a Jetson Orin; build on the Jetson itself"),
        (["sm_110"], "Jetson Thor"),
    ],
)
def test_targets_that_are_refused(trt, asked, words):
    with pytest.raises(TargetError, match=words):
        resolve_targets(trt, asked)


@pytest.mark.parametrize(
    ("flavour", "precision", "fits"),
    [
        (1, "bf16", False),
        (1, "fp32", False),
        (1, "fp16", True),
        (1, "int8", True),
        (0, "bf16", False),
        (0, "fp32", True),
    ],
)
def test_a_gpu_lacks_a_precision(trt, flavour, precision, fits):
    asked = TensorRT(FLAVOURS[flavour], trt.module, trt.version)
    later = [Target("sm_80", None), Target("sm_120", None)]
    check_precision(asked, later, precision)
    if fits:
        return check_precision(asked, [*later, Target("sm_75", None)], precision)
    with pytest.raises(PrecisionError, match=rf"sm_75 has no {precision} .*take fp16 or int8"):
        check_precision(asked, [*later, Target("sm_75", None)], precision)


@pytest.mark.skipif(current_target()[0] is not None, reason="needs a machine without a GPU")
def test_without_a_driver_current_says_so(trt):
    with pytest.raises(TargetError, match=r"no NVIDIA driver.*or name one of sm_75"):
        resolve_targets(trt, ["current"])
    # TensorRT itself builds for its own machine alone.
    classic = TensorRT(FLAVOURS[0], trt.module, "10.3.0")
    with pytest.raises(TargetError, match=r"its own machine alone \(no NVIDIA driver"):
        resolve_targets(classic, ["sm_86"])


@pytest.mark.skipif(current_target()[0] is not None, reason="needs a machine without a GPU")
def test_what_tensorrt_says_of_a_missing_driver_is_passed_on(built, trt):
    config = read_bundle(built.path).config
    with pytest.raises(EngineBuildError, match=r"for sm_90: .*CUDA driver version is insuff"):
        build_engine(
            trt,
            built.path / "onnx/fp16/image_encoder.onnx",
            config=config,
            profiles=profiles_of(config, "image_encoder", batches=[1], budgets=[8]),
            target=Target("sm_90", "CURRENT"),
            timings=None,
            report=lambda share, what: None,
        )


def test_none_installed(monkeypatch):
    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineBuildError) as caught:
        find_tensorrt()
    said = str(caught.value)
    for words in ("TensorRT or TensorRT-RTX", "pip install tensorrt-rtx-cu13-libs", "JetPack"):
        assert words in said


def test_the_one_that_no_pip_line_of_ours_installs(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineBuildError, match=r"JetPack.*containers.*index.*name no flavour") as e:
        find_tensorrt("tensorrt")
    assert "tokenfuse-sdk[" not in str(e.value)


def test_one_that_does_not_load_is_told_or_passed_over(trt, monkeypatch, tmp_path):
    (tmp_path / "tensorrt.py").write_text("raise OSError('libnvinfer.so.10: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    assert find_tensorrt().flavour.name == "tensorrt_rtx"
    with pytest.raises(EngineBuildError, match=r"tensorrt does not load \(libnvinfer"):
        find_tensorrt("tensorrt")


@pytest.mark.parametrize("version", ["10.2.0", "8.6.1.6", "", "unknown"])
def test_one_that_is_too_old(monkeypatch, version):
    module = _module("tensorrt", version)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    with pytest.raises(EngineBuildError, match=r"too old; need 10\.3 or later.*JetPack"):
        find_tensorrt()
    for fine in ("10.3.0.26", "11.0.0"):
        module.__version__ = fine
        assert find_tensorrt().version == fine


def test_the_wrapper_of_tensorrt_rtx_is_taken_first(trt, monkeypatch):
    module = _module("tensorrt_rtx", trt.version)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", module)
    assert find_tensorrt().module is module
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    assert find_tensorrt().module is trt.module


def test_flavours_differ_as_data_alone():
    fields = {field.name for field in dataclasses.fields(FLAVOURS[0])}
    assert fields == {
        "name",
        "title",
        "least",
        "chooses_target",
        "least_targets",
        "has_timing_cache",
    }
    assert re.fullmatch(r"sm_\d+", current_target()[0] or "sm_0")
