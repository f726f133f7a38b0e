"""`tokenfuse build` for the shipped model and five kinds of GPU, none of which is here."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from tokenfuse_export.cli.build import build
from tokenfuse_sdk.bundle import read_bundle
from tokenfuse_sdk.engine_file import EngineFile
from tokenfuse_sdk.errors import OutputExistsError, PrecisionError
from tokenfuse_sdk.graphs import GRAPHS

TARGETS = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_120")


def test_the_shipped_model_for_five_targets(trt, tmp_path):
    out = tmp_path / "scenes-nano"
    # One budget of three, for the time: the small bundle's engines have all of theirs.
    words = ["-m", "scenes-nano", "-o", str(out), "--target", ",".join(TARGETS)]
    words += ["--budget", "16", "--json"]
    done = CliRunner().invoke(build, words, catch_exceptions=False)
    assert done.exit_code == 0
    reports = json.loads(done.stdout)
    assert [report["target"] for report in reports] == list(TARGETS)
    # Layers of the vision and a merge; of the text, a merge and 6 of the fusion; two each.
    attentions = {"image_encoder": 5, "text_fusion": 9, "decoder": 4}
    profiles = {"image_encoder": 1, "text_fusion": 1, "decoder": 2}
    for report in reports:
        assert report["version"] == trt.version
        for graph in GRAPHS:
            engine = report["engines"][graph]
            assert engine["num_attentions"] == attentions[graph]
            assert engine["num_profiles"] == profiles[graph]
            assert engine["num_fused_attentions"] == attentions[graph] * profiles[graph]
            assert engine["all_attention_fused"] is True
    bundle = read_bundle(out)
    assert bundle.engine_names == tuple(f"{target}-fp16" for target in TARGETS)
    # It had no graphs: they were exported, verified, and stay beside the engines.
    assert bundle.onnx_precisions == ("fp16",)
    hashes = {graph: bundle.manifest.files[f"onnx/fp16/{graph}.onnx"].sha256 for graph in GRAPHS}
    for target in TARGETS:
        file = EngineFile.from_json((out / f"engines/{target}-fp16/engine.json").read_bytes())
        assert (file.key.target, file.key.onnx_sha256) == (target, hashes)
    assert done.stderr.splitlines()[-1].startswith(f"wrote {out} with sm_75-fp16, ")
    again = CliRunner().invoke(build, words)
    assert isinstance(again.exception, OutputExistsError)
    assert "--overwrite" in str(again.exception)


def test_the_table_names_each_engine_in_80_columns(built, tmp_path):
    words = ["-m", str(built.path), "-o", str(tmp_path / "out"), "--budget", "2", "--target"]
    done = CliRunner(env={"COLUMNS": "80"}).invoke(build, [*words, "sm_86"], catch_exceptions=False)
    for graph in GRAPHS:
        assert any(graph in line for line in done.stdout.splitlines())
    assert "sm_86" in done.stdout and "fp16" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    # No bar where standard error is no terminal.
    assert done.stderr == f"wrote {tmp_path / 'out'} with sm_86-fp16\n"


@pytest.mark.parametrize(
    "words",
    [
        ["--batch", "1,x"],
        ["--batch", ""],
        ["--budget", "4,,8"],
        ["--target", ","],
        ["--target", "banana"],
        ["--precision", "fp12"],
        ["--batch", "0"],
        ["--batch", "257"],
        ["--flavour", "x"],
        ["--timing-cache", ""],
        ["-o", ""],
    ],
)
def test_usage_that_is_wrong(tmp_path, words):
    done = CliRunner().invoke(build, ["-o", str(tmp_path / "out"), *words])
    assert done.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_precision_that_the_gpu_lacks_is_refused_first(trt, tmp_path):
    words = ["-o", str(tmp_path / "out"), "--precision", "bf16", "--target", "sm_75"]
    done = CliRunner().invoke(build, [*words, "--flavour", trt.flavour.name])
    assert isinstance(done.exception, PrecisionError)
    assert list(tmp_path.iterdir()) == []
