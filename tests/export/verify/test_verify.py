"""`verify`: what passes, what its figures are, what it says of what cannot run; the command."""

from __future__ import annotations

import json
import sys
import types

import numpy as np
import pytest
import torch
from click.testing import CliRunner

pytest.importorskip("onnx", reason="needs the package onnx")
pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")

from tokenfuse_export.cli.verify import verify
from tokenfuse_export.errors import ExportError
from tokenfuse_export.reference import load_reference
from tokenfuse_export.verify import (
    golden_inputs,
    golden_outputs,
    verify_bundle,
    verify_graphs,
)
from tokenfuse_export.verify.bounds import BOUNDS
from tokenfuse_export.verify.contestants import contestants_of
from tokenfuse_sdk.bundle import read_bundle, write_bundle
from tokenfuse_sdk.errors import BundleFormatError, ConfigError, DeviceError
from tokenfuse_sdk.golden import GOLDEN_BOUND, golden_error
from tokenfuse_sdk.preprocess import preprocess
from tokenfuse_sdk.runtime import open_bundle, place
from tokenfuse_training.model import JointModel


@pytest.fixture(scope="module")
def nano(exported_nano):
    return verify_bundle(exported_nano)


def rows_of(found, runtime):
    return {(row.where, row.precision): row for row in found.rows if row.runtime == runtime}


def test_a_trained_model_passes_with_every_answer(nano):
    assert nano.passed, nano.faults
    nano.refuse()
    ran = {(row.runtime, row.where, row.precision) for row in nano.rows if row.passed}
    native = {("native", "cpu", precision) for precision in ("fp32", "bf16", "int8")}
    assert native | {("onnxruntime", "cpu", "fp32")} <= ran
    for row in nano.rows:
        if row.passed:
            assert row.token_budgets == (4, 8, 16)
            answers = row.comparison.answers
            assert answers.same == 3 * nano.num_inputs
            # A model that is trained leaves few answers to rounding.
            assert answers.unsure <= {"fp32": 0, "fp16": 0}.get(row.precision, 3)
    exact = rows_of(nano, "onnxruntime")["cpu", "fp32"].comparison
    assert 0 < exact.stages["logits"].max_abs < 1e-4


def test_openvino_runs_the_same_files(nano):
    pytest.importorskip("openvino", reason="needs the package openvino")
    row = rows_of(nano, "openvino")["cpu", "fp32"]
    assert row.passed
    assert 0 < row.comparison.stages["logits"].max_abs < 1e-4


@torch.no_grad()
def test_the_figures_are_those_of_a_plain_comparison(exported_nano, nano):
    """Of the worst of all inputs and budgets, by PyTorch in one batch."""
    bundle, model = read_bundle(exported_nano), load_reference(exported_nano)
    runtime = open_bundle(bundle, place("cpu", "int8"))
    found = rows_of(nano, "native")["cpu", "int8"].comparison.stages
    images = [preprocess(image, bundle.preprocess) for image in bundle.golden["image_u8"]]
    worst, cosine = 0.0, 1.0
    for budget in (4, 8, 16):
        want_BND = model.encode_image(torch.from_numpy(np.stack(images)), budget).double()
        for image, want_ND in zip(images, want_BND, strict=True):
            got_ND = torch.from_numpy(runtime.encode_image(image, budget)).double()
            worst = max(worst, float((got_ND - want_ND).abs().max()))
            cosine = min(
                cosine,
                float(torch.cosine_similarity(got_ND.flatten(), want_ND.flatten(), dim=0)),
            )
    assert found["image_tokens"].max_abs == pytest.approx(worst, rel=1e-4)
    assert 1 - found["image_tokens"].cosine == pytest.approx(1 - cosine, rel=1e-3)


def test_what_cannot_run_says_why(nano):
    cuda = rows_of(nano, "native")["cuda", "fp16"]
    assert cuda.passed is None
    assert "device='cuda' is not there" in cuda.reason
    (engines,) = rows_of(nano, "tensorrt").values()
    assert engines.passed is None
    assert "`tokenfuse build` adds them" in engines.reason


def test_a_gpu_that_fails_at_load_is_a_failure(_bundle_once, monkeypatch):
    """It is there, so that nothing is lacking. The module is a stand-in for one without memory."""

    class OutOfMemory(RuntimeError):
        pass

    def engine(*args, **options):
        raise OutOfMemory("cudaMalloc")

    module = types.SimpleNamespace(OutOfMemory=OutOfMemory, CudaEngine=engine)
    monkeypatch.setitem(sys.modules, "tokenfuse_sdk._cuda", module)
    monkeypatch.setattr("tokenfuse_sdk.runtime.native_cuda.unavailable_reason", lambda: None)
    for one in contestants_of(read_bundle(_bundle_once)):
        if (one.runtime, one.where) == ("native", "cuda"):
            with pytest.raises(DeviceError, match="not enough memory"):
                one.open()


def test_what_was_asked_for_must_run(exported_small):
    found = verify_bundle(exported_small, against=["native", "tensorrt"])
    assert [row.passed for row in found.rows if row.where == "cpu"] == [True] * 3
    assert not found.passed
    assert "tensorrt was asked for and not run" in found.faults[0]
    with pytest.raises(ExportError, match=r"no engines.*Nothing was written"):
        found.refuse()
    found = verify_bundle(exported_small, against=["onnxruntime"], precisions=["fp32", "bf16"])
    assert [(row.precision, row.passed) for row in found.rows] == [("fp32", True)]
    assert found.faults == ("bf16 was asked for and not run: nothing here has it",)


@pytest.mark.parametrize("package", ["openvino", "onnxruntime"])
def test_a_package_that_is_not_there_is_named(exported_small, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    found = verify_bundle(exported_small, against=[package])
    assert not found.passed
    assert {row.passed for row in found.rows} == {None}
    assert f"the package {package}" in found.faults[0]
    assert f"pip install {package}" in found.faults[0]


def test_pytorch_computes_nothing_where_nothing_runs(exported_small, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    asked = []
    monkeypatch.setattr(JointModel, "encode_image", lambda *given: asked.append(given))
    found = verify_bundle(exported_small, against=["openvino"])
    assert not found.passed and not asked
    # Every precision is named, and the one reason once.
    assert found.faults[0].count("pip install openvino") == 1
    assert all(f"openvino cpu {p}" in found.faults[0] for p in ("fp32", "fp16"))


def test_without_a_runtime_for_them_graphs_are_evaluated(exported_small, monkeypatch):
    """bf16, which ONNX Runtime refuses; the evaluator does not look at what they really are."""
    monkeypatch.setitem(sys.modules, "openvino", None)
    model = load_reference(exported_small)
    inputs = golden_inputs(model, count=1)
    found = verify_graphs(model, inputs, exported_small / "onnx/fp32", "bf16")
    assert found.passed, found.faults
    assert [row.runtime for row in found.rows if row.passed] == ["evaluator"]
    (row,) = found.parity("bf16")
    assert row.comparison.stages["logits"].max_abs < 1e-4


def test_unknown_names_are_refused(exported_small):
    with pytest.raises(ConfigError, match="choose from native, onnxruntime, openvino, tensorrt"):
        verify_bundle(exported_small, against=["pytorch"])
    with pytest.raises(ConfigError, match="choose from fp32"):
        verify_bundle(exported_small, precisions=["int4"])
    with pytest.raises(ConfigError, match="against"):
        verify_bundle(exported_small, against=[])


def test_seeded_inputs(exported_small):
    model = load_reference(exported_small)
    one, again, other = (golden_inputs(model, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.image_u8, again.image_u8)
    np.testing.assert_array_equal(one.text_ids, again.text_ids)
    assert (one.image_u8 != other.image_u8).any()
    lengths = [len(question.text_ids) for question in one.questions()]
    assert (lengths[0], lengths[-1]) == (1, model.config.text.max_tokens)
    assert len(set(lengths)) == len(lengths)
    # They are prepared: padded, and of another size.
    assert one.image_u8.shape[1:3] != (32, 32)
    assert {question.image_HW3.shape for question in one.questions()} == {(32, 32, 3)}


def test_golden_outputs_are_what_doctor_checks(bundle_parts, exported_small, tmp_path):
    model = load_reference(exported_small)
    golden = golden_outputs(model, golden_inputs(model))
    assert golden["fused_tokens"].shape == (4, 8, 32)
    write_bundle(tmp_path / "bundle", **bundle_parts | {"golden": golden})
    written = read_bundle(tmp_path / "bundle")
    runtime = open_bundle(written, place("cpu", "fp32"))
    assert 0 < golden_error(written, runtime) < GOLDEN_BOUND
    # And they are what is asked from then on.
    assert verify_bundle(written, against=["native"], precisions=["fp32"]).num_inputs == 4
    golden["text_ids"][0, 0] = model.config.text.vocab_size
    write_bundle(tmp_path / "damaged", **bundle_parts | {"golden": golden})
    with pytest.raises(BundleFormatError, match="text_ids"):
        verify_bundle(tmp_path / "damaged")


def test_the_command(exported_nano):
    only = ["-m", str(exported_nano), "--against", "native,onnxruntime", "--precision", "fp32"]
    result = CliRunner().invoke(verify, only)
    assert result.exit_code == 0, result.output
    for word in ("native cpu", "onnxruntime cpu", "fp32", "12/12", "passed", "image"):
        assert word in result.stdout
    result = CliRunner().invoke(verify, [*only, "--json"])
    found = json.loads(result.stdout)
    assert found["passed"] is True
    row = found["rows"][1]
    assert (row["runtime"], row["passed"]) == ("onnxruntime", True)
    bounds = row["bound"]["stages"]
    assert row["stages"]["logits"]["max_abs"] < bounds["logits"]["max_abs"] == 1e-4
    for name, stage in row["stages"].items():
        assert stage["max_rel"] < bounds[name]["max_rel"]
        assert stage["cosine"] >= bounds[name]["cosine"]
    result = CliRunner().invoke(verify, [*only[:2], "--against", "native,tensorrt"])
    assert result.exit_code == 1
    assert "FAILED: tensorrt was asked for and not run" in result.stdout


@pytest.mark.parametrize("words", [["--against", "bogus"], ["--precision", "fp32,fp12"]])
def test_usage_that_is_wrong(words):
    result = CliRunner().invoke(verify, words)
    assert result.exit_code == 2
    assert f"'{words[1].split(',')[-1]}' is none of" in result.stderr


def test_bounds_say_what_they_derive():
    exact, half, small = (BOUNDS[name] for name in ("fp32", "fp16", "int8"))
    assert exact.worst == pytest.approx(1e-4)
    # Small logits in proportion, usual ones as they are, large ones in proportion again.
    assert [exact.logit(size) for size in (0.1, 1, 10, 100)] == pytest.approx(
        [1e-5, 1e-4, 1e-4, 1e-3]
    )
    assert half.logit(10) == pytest.approx(10 * 4 * 2.0**-6)
    assert small.cosine == pytest.approx(0.99)
    # Logits have a bound of their own, and this is what they are judged by.
    found = small.to_dict()["stages"]
    assert found["image_tokens"]["max_rel"] == pytest.approx(16 * 0.02**0.5)
    assert 10 * found["logits"]["max_rel"] == pytest.approx(small.logit(10))
    # What is measured, as long as it is less than the bound.
    assert small.tie(10, 0.1) == pytest.approx(4 * 2**0.5 * 0.1)
    assert small.tie(10, 9) == small.logit(10)
