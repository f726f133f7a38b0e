"""`load(..., backend="tensorrt")`: what it lacks here, which engines it takes, and what it refuses.

Where there is no GPU, the device and TensorRT are the emulated ones; the refusals are real.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from emulated_cuda import EmulatedCuda
from emulated_engines import add_engines
from emulated_tensorrt import EmulatedTensorRT
from pictures import picture

import tokenfuse_sdk as tf
from tokenfuse_export.verify import verify_bundle
from tokenfuse_export.verify.contestants import NotHereError, contestants_of
from tokenfuse_sdk import errors
from tokenfuse_sdk.bundle import add_groups, read_bundle
from tokenfuse_sdk.cli.doctor import _run_checks
from tokenfuse_sdk.runtime import tensorrt
from tokenfuse_sdk.runtime.tensorrt.cuda import load_bindings

QUESTIONS = [
    "how many red circles are there?",
    "is there a star?",
    "what digit is left of the star?",
]
BLOCK = "import sys\nfor name in {names}:\n    sys.modules[name] = None\n"


@pytest.fixture
def gpu(monkeypatch):
    """The emulated device and TensorRT, where the loader finds what is installed."""
    cuda = EmulatedCuda()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda)
    module = EmulatedTensorRT(cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return module


@pytest.fixture
def graphs(exported_small, tmp_path):
    """A bundle of one's own, with graphs and without engines."""
    return shutil.copytree(exported_small, tmp_path / "small")


@pytest.fixture
def engines(graphs, tmp_path):
    """The same with emulated engines in fp32 for sm_86."""
    add_engines(graphs, tmp_path / "engines")
    return graphs


def _load(bundle, **options):
    return tf.load(bundle, backend="tensorrt", **options)


# What is missing here, for real.


@pytest.mark.usefixtures("no_driver")
def test_a_machine_without_a_driver(bundle):
    reason = tensorrt.unavailable_reason()
    assert "no NVIDIA driver is installed (cudaDriverGetVersion says 0)" in reason
    for device in ("auto", "cuda"):
        with pytest.raises(errors.DeviceError, match=r"cannot run here: .*no NVIDIA driver"):
            _load(bundle, device=device)


def _reason_without(*names: str) -> str:
    code = BLOCK.format(names=names) + (
        "from tokenfuse_sdk.runtime.tensorrt import unavailable_reason\n"
        "print(unavailable_reason())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_packages_that_are_not_installed():
    lacking = _reason_without("cuda", "tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
    assert "no TensorRT is installed (neither tensorrt nor tensorrt_rtx)" in lacking
    assert "the package cuda-bindings is not installed" in lacking
    assert lacking.count("pip install tensorrt-rtx-cu13-libs") == 2
    assert "package cuda-bindings" not in _reason_without("tensorrt", "tensorrt_rtx_bindings")


# Arguments.


def test_a_cpu_is_no_place_for_it(bundle):
    with pytest.raises(errors.DeviceError, match="runs on a GPU, not on device='cpu'; use"):
        _load(bundle, device="cpu")


def test_a_precision_that_no_engine_has(bundle):
    with pytest.raises(errors.PrecisionError, match="choose one of fp32, fp16, bf16, int8"):
        _load(bundle, precision="int4")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"driver": 12_040}, r"driver is one for CUDA 12\.4, .* 13\.5: .*'cuda-bindings==12\.\*'"),
        ({"driver": 0}, "no NVIDIA driver is installed"),
        ({"device_count": 0}, "cudaGetDeviceCount: cudaErrorNoDevice"),
    ],
)
def test_a_driver_or_a_device_that_does_not_do(gpu, engines, change, match):
    for name, value in change.items():
        setattr(gpu.cuda, name, value)
    with pytest.raises(errors.DeviceError, match=match):
        _load(engines)


# Engines.


def test_it_answers_as_the_native_engine(gpu, engines):
    pictures = [picture(seed) for seed in (1, 2)]
    with tf.load(engines, device="cpu", precision="fp32") as native, _load(engines) as model:
        assert (model.backend, model.device, model.precision) == ("tensorrt", "cuda", "fp32")
        assert model.info.isa == "sm_86"
        assert model.info.device_reason == "auto: TensorRT runs on a GPU alone"
        assert "most exact" in model.info.precision_reason
        model.warm_up(batch=3)
        for image in pictures:
            tokens = model.encode_image(image)
            np.testing.assert_allclose(tokens.f_ND, native.encode_image(image).f_ND, atol=1e-4)
            for question in QUESTIONS:
                want = native.answer(image, question)
                for source in (image, tokens):
                    got = model.answer(source, question)
                    assert got.text == want.text
                    assert got.confidence == pytest.approx(want.confidence, rel=1e-3)
            scores = [one.score(image, QUESTIONS[0], ["yes", "2"]) for one in (model, native)]
            for got, want in zip(*scores, strict=True):
                assert got.log_prob == pytest.approx(want.log_prob, abs=1e-2)
        many = model.answer_many(pictures[0], QUESTIONS)
        assert [one.text for one in many] == [native.answer(pictures[0], q).text for q in QUESTIONS]
        with ThreadPoolExecutor(3) as threads:
            answers = list(threads.map(lambda q: model.answer(pictures[0], q).text, QUESTIONS))
        assert answers == [one.text for one in many]
        with pytest.raises(errors.TokenBudgetError, match="built for 2, 8"):
            model.answer(pictures[0], QUESTIONS[0], token_budget=4)
        with pytest.raises(errors.UnsupportedModelError, match="weights_BNS"):
            _load(engines).token_map(pictures[0])
    assert gpu.cuda.live("pinned") == []


def test_a_bundle_without_engines_says_how_to_build_them(gpu, graphs):
    command = (
        f"`tokenfuse build -m {graphs} -o {graphs} --precision fp16 --target sm_86 --overwrite`"
    )
    with pytest.raises(errors.DeviceError, match=re.escape(command)):
        _load(graphs)


def test_engines_for_another_device_or_precision(gpu, engines):
    with pytest.raises(errors.PrecisionError, match=r"'fp16': .* has engines for sm_86 in fp32; "):
        _load(engines, precision="fp16")
    assert _load(engines, precision="fp32").info.precision_reason == "asked for"
    gpu.cuda.capability = (12, 0)
    with pytest.raises(
        errors.DeviceError, match=r"engines sm_86-fp32; this machine's GPU is sm_120: .* sm_120"
    ):
        _load(engines)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"version": "10.4.0"}, r"version: 10\.4\.0 in the engine, 10\.3\.0 here"),
        ({"arch": "aarch64"}, "arch: aarch64 in the engine, "),
        ({"weights_sha256": "5" * 64}, "sha256 of weights: 555555555555 in the engine, "),
        ({"text_lengths": (16, 64)}, "text_lengths: "),
    ],
)
def test_engines_that_were_made_for_other_than_what_is_here(gpu, graphs, tmp_path, change, match):
    add_engines(graphs, tmp_path / "engines", **change)
    with pytest.raises(errors.EngineKeyError, match=rf"{match}.*`tokenfuse build .*sm_86"):
        _load(graphs)
    # Not a byte of the engine was read by TensorRT.
    assert gpu.contexts == []


def test_graphs_that_changed_behind_the_engines(gpu, engines, tmp_path):
    changed = shutil.copytree(engines / "onnx" / "fp32", tmp_path / "fp32")
    graph = changed / "decoder.onnx"
    # A field that readers skip: the same graph in another file.
    graph.write_bytes(graph.read_bytes() + b"\x32\x03new")
    add_groups(engines, engines, {"onnx/fp32": changed}, overwrite=True)
    with pytest.raises(errors.EngineKeyError, match=r"sha256 of decoder\.onnx: "):
        _load(engines)


def test_a_damaged_engine(gpu, engines):
    path = engines / "engines" / "sm_86-fp32" / "decoder.engine"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(errors.BundleHashError, match=r"decoder\.engine"):
        _load(engines)


def test_engines_of_another_build_than_their_key(gpu, engines, tmp_path):
    folder = shutil.copytree(engines / "engines" / "sm_86-fp32", tmp_path / "sm_86-fp32")
    (folder / "decoder.engine").write_bytes((folder / "text_fusion.engine").read_bytes())
    add_groups(engines, engines, {"engines/sm_86-fp32": folder}, overwrite=True)
    with pytest.raises(errors.BundleHashError, match=r"decoder\.engine is not the one that engine"):
        _load(engines)
    # Not a byte of the engine was read by TensorRT.
    assert gpu.contexts == []


def test_engines_of_some_budgets_are_used_at_the_largest(gpu, graphs, tmp_path):
    add_engines(graphs, tmp_path / "engines", budgets=(2, 4))
    image = picture(1)
    with _load(graphs) as model, tf.load(graphs, device="cpu", precision="fp32") as native:
        assert (model.token_budget, model.info.token_budget) == (4, 4)
        assert model.info.token_budgets == (2, 4)
        model.warm_up()
        got, want = (
            model.answer(image, QUESTIONS[0]),
            native.answer(image, QUESTIONS[0], token_budget=4),
        )
        assert (got.text, got.token_budget) == (want.text, 4)
        command = f"tokenfuse build -m {graphs} -o {graphs} --flavour tensorrt .* --budget 2,4,8 "
        with pytest.raises(errors.TokenBudgetError, match=rf"=8: .* for 2, 4; .*`{command}"):
            model.answer(image, QUESTIONS[0], token_budget=8)
    assert _load(graphs, token_budget=2).token_budget == 2
    with pytest.raises(errors.TokenBudgetError, match=r"token_budget=8: .* built for 2, 4; "):
        _load(graphs, token_budget=8)


def test_a_tensorrt_that_is_not_installed(gpu, graphs, tmp_path, monkeypatch):
    add_engines(graphs, tmp_path / "engines", flavour="tensorrt_rtx")
    monkeypatch.setattr(
        "tokenfuse_sdk.runtime.tensorrt.flavours.importlib.util.find_spec",
        lambda name: name == "tensorrt" or None,
    )
    with pytest.raises(
        errors.DeviceError, match=r"no tensorrt_rtx is installed .*: pip install tensorrt-rtx"
    ):
        _load(graphs)


@pytest.mark.parametrize("budgets", [(2, 4, 8), (4,)])
def test_verify_compares_engines_too(gpu, graphs, tmp_path, budgets):
    add_engines(graphs, tmp_path / "engines", budgets=budgets)
    (row,) = verify_bundle(graphs, against=["tensorrt"]).rows
    assert (row.runtime, row.where, row.precision) == ("tensorrt", "sm_86", "fp32")
    assert row.passed, row.reason
    answers = row.comparison.answers
    assert answers.same == answers.total == 4 * len(budgets)


def test_engines_for_this_gpu_that_do_not_load_are_a_failure(gpu, graphs, tmp_path):
    """Not something that is lacking; a TensorRT that is not installed is."""
    add_engines(graphs, tmp_path / "stale", version="10.4.0")
    with pytest.raises(errors.EngineKeyError, match=r"version: 10\.4\.0 in the engine, 10\.3\.0"):
        list(contestants_of(read_bundle(graphs)))[-1].open()


def test_engines_of_a_tensorrt_that_is_not_here_are_not_run(gpu, graphs, tmp_path, monkeypatch):
    add_engines(graphs, tmp_path / "other", flavour="tensorrt_rtx")
    monkeypatch.setattr(
        "tokenfuse_sdk.runtime.tensorrt.flavours.importlib.util.find_spec",
        lambda name: name == "tensorrt" or None,
    )
    with pytest.raises(NotHereError, match="are of tensorrt_rtx, which is not installed"):
        list(contestants_of(read_bundle(graphs)))[-1].open()


def test_threads_share_the_kernels_that_are_compiled_at_load(gpu, graphs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", gpu)
    add_engines(graphs, tmp_path / "engines", flavour="tensorrt_rtx")
    with _load(graphs) as model, ThreadPoolExecutor(2) as threads:
        together = threading.Barrier(2)

        def ask(_: int) -> str:
            together.wait()
            return model.answer(picture(), QUESTIONS[0]).text

        assert len(set(threads.map(ask, range(2)))) == 1
    caches = {id(context.engine): set() for context in gpu.contexts}
    for context in gpu.contexts:
        caches[id(context.engine)].add(context.kernels)
    assert [len(found) for found in caches.values()] == [1, 1, 1]
    assert None not in set.union(*caches.values())
    assert len(gpu.contexts) == 6


def test_doctor_says_which_engines_fit(gpu, engines, tmp_path):
    def checks() -> dict:
        return _run_checks(str(engines))

    found = checks()
    assert found["TensorRT"]["ok"]
    assert found["TensorRT"]["what"].startswith("tensorrt 10.3.0")
    assert found["TensorRT"]["what"].endswith("Emulated GPU (sm_86), driver for CUDA 13.0")
    name = f"engines of {engines}"
    assert found[name] == {"ok": True, "what": "sm_86-fp32 fits"}
    gpu.__version__ = "10.4.0"
    assert checks()[name]["ok"] is False
    assert "version: 10.3.0 in the engine, 10.4.0 here" in checks()[name]["what"]
    gpu.cuda.capability = (8, 7)
    assert checks()[name] == {"ok": None, "what": "sm_86-fp32; none is for this GPU, sm_87"}
    gpu.cuda.driver = 0
    assert checks()[name] == {"ok": None, "what": "sm_86-fp32; none can run here"}
    assert "no NVIDIA driver is installed" in checks()["TensorRT"]["what"]
    assert _run_checks()["engines of scenes-nano"]["what"].startswith("none; `tokenfuse build`")


def test_the_bindings_are_loaded_where_they_are_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(ImportError):
        load_bindings()
    assert "the package cuda-bindings is not installed" in tensorrt.unavailable_reason()
