"""Engines of the small bundle, by the real builder; what is refused, and what is left then."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tokenfuse_export.errors import EngineBuildError, ExportError, TargetError
from tokenfuse_export.tensorrt.build import build_engines
from tokenfuse_export.tensorrt.proof import prove_engines
from tokenfuse_export.tensorrt.source import with_graphs
from tokenfuse_export.tensorrt.targets import current_target
from tokenfuse_sdk.bundle import add_groups, files_table, read_bundle
from tokenfuse_sdk.engine_file import EngineFile
from tokenfuse_sdk.engine_key import this_system
from tokenfuse_sdk.errors import (
    BundleExistsError,
    BundleHashError,
    ConfigError,
    OutputPathError,
    PrecisionError,
    TokenBudgetError,
)
from tokenfuse_sdk.graphs import GRAPHS, text_lengths

GROUP = "engines/sm_86-fp16"


def test_the_bundle_has_engines_and_the_graphs_they_are_of(built, trt):
    bundle = read_bundle(built.path)
    assert bundle.engine_names == ("sm_86-fp16",)
    assert bundle.onnx_precisions == ("fp32", "fp16")
    files = bundle.open_group(GROUP)
    entries = bundle.manifest.files
    said = EngineFile.from_json(bytes(files["engine.json"].data))
    key = said.key
    assert (key.flavour, key.version) == ("tensorrt_rtx", trt.module.__version__)
    assert (key.target, key.precision, key.batches) == ("sm_86", "fp16", (1,))
    assert (key.os, key.arch) == this_system()
    assert key.budgets == bundle.config.fusion.token_budgets
    assert key.text_lengths == text_lengths(bundle.config)
    assert key.weights_sha256 == bundle.digest
    for graph in GRAPHS:
        assert key.onnx_sha256[graph] == entries[f"onnx/fp16/{graph}.onnx"].sha256
        data = (built.path / GROUP / f"{graph}.engine").read_bytes()
        assert said.files[graph] == (len(data), hashlib.sha256(data).hexdigest())
    report = json.loads((built.path / GROUP / "report.json").read_text())
    assert report == built.report.to_dict()
    assert report["digest"] == key.digest


def test_each_attention_of_each_graph_is_one_kernel_in_each_profile(built):
    onnx = pytest.importorskip("onnx", reason="needs the package onnx")
    profiles = {"image_encoder": 1, "text_fusion": 3, "decoder": 6}
    for graph, engine in built.report.engines.items():
        nodes = onnx.load(built.path / f"onnx/fp16/{graph}.onnx").graph.node
        softmaxes = sum(node.op_type == "Softmax" for node in nodes)
        assert engine.num_attentions == softmaxes > 0
        assert engine.num_profiles == profiles[graph]
        assert engine.num_fused_attentions == softmaxes * profiles[graph]
        assert engine.all_attention_fused
        written = {word for layer in engine.layers for word in layer.precisions}
        assert {"fp16", "fp32"} <= written
        size = (built.path / GROUP / f"{graph}.engine").stat().st_size
        assert engine.engine_bytes == size
        assert 0 < engine.weights_bytes < size
        assert engine.device_memory_bytes > 0


def test_progress_goes_on_and_ends_full(built):
    shares: dict[str, list[float]] = {}
    for target, graph, share, _ in built.progress:
        assert target == "sm_86"
        shares.setdefault(graph, []).append(share)
    # With this GPU in the machine, "verify" comes behind them.
    assert tuple(shares)[:4] == ("graphs", *GRAPHS)
    for values in shares.values():
        assert values == sorted(values)
        assert values[0] >= 0 and values[-1] == 1.0
    # TensorRT's own words, and more than the end of it.
    assert any("engine" in what.lower() for *_, what in built.progress)
    assert any(0 < share < 1 for *_, share, _ in built.progress)


def test_another_target_joins_and_the_rest_stays(built, tmp_path):
    path = shutil.copytree(built.path, tmp_path / "model")
    with pytest.raises(BundleExistsError):
        build_engines(path, path, precision="fp16", targets=["sm_89"], budgets=[8])
    before = read_bundle(path).manifest.files
    (report,) = build_engines(
        path, path, precision="fp16", targets=["sm_89"], budgets=[8], batches=[2], overwrite=True
    )
    bundle = read_bundle(path)
    assert bundle.engine_names == ("sm_86-fp16", "sm_89-fp16")
    kept = before.keys() - {"README.md"}
    assert {name: bundle.manifest.files[name] for name in kept} == {n: before[n] for n in kept}
    rows = {row.file: row for row in files_table(bundle.card)}
    for target in ("sm_86", "sm_89"):
        for graph in GRAPHS:
            file = f"engines/{target}-fp16/{graph}.engine"
            assert rows[file].num_bytes == bundle.manifest.files[file].size
    said = EngineFile.from_json((path / "engines/sm_89-fp16/engine.json").read_bytes())
    assert said.key.digest == report.digest != built.report.digest
    assert (said.key.batches, said.key.budgets) == ((2,), (8,))
    assert [engine.num_profiles for engine in report.engines.values()] == [1, 1, 2]
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_graph_is_refused(built, tmp_path):
    path = shutil.copytree(built.path, tmp_path / "model")
    file = path / "onnx/fp16/decoder.onnx"
    data = bytearray(file.read_bytes())
    data[-9] ^= 1
    file.write_bytes(data)
    with pytest.raises(BundleHashError, match="decoder"):
        build_engines(path, tmp_path / "out", precision="fp16", targets=["sm_86"])
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def wrong(exported_small, tmp_path):
    """A bundle whose decoder in fp16 has only zeros for its last product, sealed as if it were."""
    onnx = pytest.importorskip("onnx", reason="needs the package onnx")
    path = shutil.copytree(exported_small, tmp_path / "wrong")
    folder = shutil.copytree(path / "onnx/fp16", tmp_path / "fp16")
    model = onnx.load(folder / "decoder.onnx")
    last = [node for node in model.graph.node if node.op_type == "MatMul"][-1]
    (weights,) = (one for one in model.graph.initializer if one.name in last.input)
    weights.raw_data = bytes(len(weights.raw_data))
    onnx.save(model, folder / "decoder.onnx")
    add_groups(path, path, {"onnx/fp16": folder}, overwrite=True)
    shutil.rmtree(folder)
    return path


def test_graphs_that_compute_something_else_are_refused(wrong, trt, tmp_path):
    assert "onnx/fp16/decoder.onnx" not in {
        row.file for row in files_table(read_bundle(wrong).card)
    }
    with pytest.raises(ExportError, match=r"does not verify: onnxruntime cpu fp16: "):
        build_engines(wrong, tmp_path / "out", precision="fp16", targets=["sm_86"])
    assert list(tmp_path.iterdir()) == [wrong]


def test_tensorrt_reads_what_was_checked(exported_small, tmp_path):
    """Not what lies in the bundle by the time that it reads."""
    path = shutil.copytree(exported_small, tmp_path / "model")
    want = (path / "onnx/fp16/decoder.onnx").read_bytes()
    source = with_graphs(read_bundle(path), "fp16", tmp_path)
    assert source.doubt is None
    (path / "onnx/fp16/decoder.onnx").write_bytes(b"another")
    assert (source.folder / "decoder.onnx").read_bytes() == want
    assert sorted(file.name for file in source.folder.iterdir()) == sorted(
        f"{graph}.onnx" for graph in GRAPHS
    )


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"precision": "fp8"}, PrecisionError, "fp16, bf16, int8"),
        ({"precision": "int8_fp16"}, PrecisionError, "int8_fp16"),
        ({"batches": [0]}, ConfigError, "from 1 to 256"),
        ({"batches": [257]}, ConfigError, "from 1 to 256"),
        ({"batches": [1.0]}, ConfigError, "batch=1.0"),
        ({"batches": []}, ConfigError, "one or more"),
        ({"batches": [1, 1]}, ConfigError, "each once"),
        ({"budgets": [3]}, TokenBudgetError, r"3 is not one of \[2, 4, 8\]"),
        ({"budgets": []}, ConfigError, "one or more"),
        ({"targets": ["sm_87"]}, TargetError, "Jetson Orin"),
        ({"flavour": "tensorrt_lite"}, EngineBuildError, "choose one of"),
        ({"timing_cache": "cache.bin"}, EngineBuildError, "no timing cache"),
    ],
)
def test_what_is_refused_before_anything_is_built(built, tmp_path, changes, error, words):
    options = {"precision": "fp16", "targets": ["sm_86"]} | changes
    with pytest.raises(error, match=words):
        build_engines(built.path, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(built, tmp_path):
    resource = pytest.importorskip("resource", reason="needs POSIX's limits")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The engines are larger, all that else is written is smaller.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, hard))
    try:
        with pytest.raises(OutputPathError, match="has room") as caught:
            build_engines(
                built.path, tmp_path / "out", precision="fp16", targets=["sm_86"], budgets=[8]
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.__cause__.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(current_target()[0] is not None, reason="needs a machine without a GPU")
def test_engines_that_do_not_run_here_are_not_proven(built, tmp_path):
    """What a build for this machine's GPU asks of its engines, asked of those for another."""
    with pytest.raises(ExportError, match="tensorrt was asked for and not run"):
        prove_engines(built.path, {GROUP: built.path / GROUP}, tmp_path, "fp16")


# As `tokenfuse build`, also where the package is not installed and so has no entry points.
_COMMAND = """
from tokenfuse_export.cli.build import build
from tokenfuse_sdk.cli import main
main.cli.get_command = lambda context, name: build
main.main()
"""


def test_an_interrupt_leaves_nothing(built, tmp_path):
    # Enough profiles that it is far from done when the first engine is there.
    batches = ",".join(map(str, range(1, 17)))
    words = ["build", "-m", built.path, "-o", tmp_path / "out", "--target", "sm_86"]
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _COMMAND, *map(str, words), "--batch", batches],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".out.*/*/image_encoder.engine")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert output == ""
    assert said.strip() == "interrupted"
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_with_graphs_needs_no_torch(built, tmp_path):
    """As on a Jetson: what exporting needs is not there."""
    code = """
import sys
for name in ("torch", "onnx", "onnxscript"):
    sys.modules[name] = None
from tokenfuse_export.tensorrt import build_engines
build_engines(sys.argv[1], sys.argv[2], precision="fp16", targets=["sm_86"], budgets=[2])
"""
    out = tmp_path / "a" / "folder"
    words = [sys.executable, "-P", "-c", code, str(built.path), str(out)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert read_bundle(out).engine_names == ("sm_86-fp16",)
    report = json.loads((out / GROUP / "report.json").read_text())
    assert report["warnings"] == ["the graphs were not verified: torch is not installed here"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["folder"]
