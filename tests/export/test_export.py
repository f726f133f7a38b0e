"""`tokenfuse export`: what joins the bundle, and that a failure leaves nothing."""

from __future__ import annotations

import json
import pathlib
import resource
import shutil
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

onnx = pytest.importorskip("onnx", reason="needs the package onnx")
pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")

from tokenfuse_export import onnx_proto, to_onnx  # noqa: E402
from tokenfuse_export.cli.export import export  # noqa: E402
from tokenfuse_export.errors import ExportError  # noqa: E402
from tokenfuse_export.export import export_bundle  # noqa: E402
from tokenfuse_export.reference import load_reference  # noqa: E402
from tokenfuse_export.verify.bounds import BOUNDS  # noqa: E402
from tokenfuse_sdk.bundle import files_table, read_bundle  # noqa: E402
from tokenfuse_sdk.errors import (  # noqa: E402
    BundleExistsError,
    BundlePathError,
    ConfigError,
    OutputExistsError,
    OutputPathError,
)
from tokenfuse_sdk.graphs import GRAPH_PRECISIONS, GRAPHS  # noqa: E402
from tokenfuse_sdk.onnx_file import check_onnx  # noqa: E402


@pytest.fixture
def ready_graphs(exported_all, monkeypatch) -> Any:
    """Graphs that were traced before, in place of new ones; everything else is real."""

    def copy(model: Any, folder: pathlib.Path, *, precisions: Any, **_: Any) -> None:
        for precision in precisions:
            (folder / precision).mkdir()
            for path in (exported_all.path / "onnx" / precision).iterdir():
                shutil.copyfile(path, folder / precision / path.name)

    monkeypatch.setattr(to_onnx, "write_graphs", copy)


def test_graphs_golden_tensors_and_card(exported_all, _bundle_once):
    assert tuple(exported_all.verified) == GRAPH_PRECISIONS
    for precision, verified in exported_all.verified.items():
        assert verified.passed
        ran = {row.runtime for row in verified.rows if row.passed}
        assert ran & {"onnxruntime", "openvino", "evaluator"}, precision
    bundle = read_bundle(exported_all.path)
    assert bundle.onnx_precisions == GRAPH_PRECISIONS
    for precision in GRAPH_PRECISIONS:
        bundle.open_group(f"onnx/{precision}")
    # The source had pictures alone.
    assert set(read_bundle(_bundle_once).golden) == {"image_u8"}
    names = {"image_u8", "text_ids", "answer_ids", "image_tokens", "fused_tokens", "logits"}
    assert set(bundle.golden) == names
    rows = files_table(bundle.card)
    assert rows == exported_all.files
    for row in rows:
        assert row.num_bytes == (exported_all.path / row.file).stat().st_size
        same, total = map(int, row.answers.split("/"))
        assert 0 <= same <= total
        kind, _, who = row.parity.rpartition(" (")
        figure = float(kind.split()[-1])
        # ONNX Runtime has no bf16 on CPUs; and a card says who ran what.
        assert who.endswith(")")
        assert ("ONNX Runtime" in who) == (row.precision != "bf16")
        if row.precision == "fp32":
            assert row.parity.startswith("max abs") and 0 < figure < 1e-3
        else:
            assert BOUNDS[row.precision].cosine - 1e-5 <= figure <= 1
    assert {row.file for row in rows} == {
        f"onnx/{precision}/{name}.onnx" for precision in GRAPH_PRECISIONS for name in GRAPHS
    }


def test_the_bundle_itself_keeps_what_it_has(exported_all, ready_graphs, tmp_path):
    path = pathlib.Path(shutil.copytree(exported_all.path, tmp_path / "bundle"))
    with pytest.raises(BundleExistsError, match="overwrite"):
        export_bundle(path, path, precisions=["fp16"])
    done = export_bundle(path, path, precisions=["fp16"], overwrite=True)
    bundle, before = read_bundle(path), read_bundle(exported_all.path)
    assert tuple(done.verified) == ("fp16",)
    assert bundle.onnx_precisions == GRAPH_PRECISIONS
    assert {r.file for r in files_table(bundle.card)} == {r.file for r in exported_all.files}
    for name, array in before.golden.items():
        np.testing.assert_array_equal(bundle.golden[name], array)


def test_graphs_that_do_not_verify_are_not_written(exported_all, ready_graphs, tmp_path):
    target = tmp_path / "out" / "bundle"

    def spoil(what: str) -> None:
        if what == "PyTorch's own answers":
            (path,) = target.parent.rglob("decoder.onnx")
            proto = onnx.load(path)
            weights = max(proto.graph.initializer, key=lambda t: len(t.raw_data))
            array = onnx.numpy_helper.to_array(weights)
            weights.raw_data = (1.1 * array).astype(array.dtype).tobytes()
            onnx.save(proto, path)

    with pytest.raises(ExportError, match="does not verify"):
        export_bundle(exported_all.path, target, progress=spoil)
    assert list(target.parent.iterdir()) == []


def test_an_output_in_the_bundle_itself_leaves_it_as_it_is(bundle):
    with pytest.raises(BundlePathError, match="lie one in the other"):
        export_bundle(bundle, bundle / "a" / "b")
    read_bundle(bundle)


def test_what_cannot_be_read_is_not_told_of_the_output(exported_all, tmp_path):
    # A name that no system takes: what is wrong is the argument, and the output could be written.
    with pytest.raises(ConfigError, match=r"calibration='x+' cannot be read \(File name too long"):
        export_bundle(
            exported_all.path, tmp_path / "new", precisions=["int8"], calibration="x" * 300
        )
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(exported_all, tmp_path):
    target, said = tmp_path / "bundle", []

    def interrupt(what: str) -> None:
        said.append(what)
        if len(said) == 2:
            # The first graph was traced and written.
            assert len(list(tmp_path.rglob("image_encoder.onnx"))) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_bundle(exported_all.path, target, progress=interrupt)
    assert said == ["fp32: image_encoder", "fp32: text_fusion"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["graphs", "weights"])
def test_a_full_disk_leaves_nothing(exported_all, ready_graphs, tmp_path, what):
    """By the limit on a file's size: not even a graph fits, or only the bundle's weights do not."""
    graphs = [path.stat().st_size for path in (exported_all.path / "onnx" / "int8").iterdir()]
    weights = (exported_all.path / "model.safetensors").stat().st_size
    assert max(graphs) < weights
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = 4_096 if what == "graphs" else weights - 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OutputPathError, match=r"has room\. Nothing of it is there"):
            export_bundle(exported_all.path, tmp_path / "bundle", precisions=["int8"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_the_command(exported_all, ready_graphs, tmp_path):
    target = tmp_path / "bundle"
    arguments = ["-m", str(exported_all.path), "-o", str(target), "--precision", "int8", "--json"]
    done = CliRunner().invoke(export, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    facts = json.loads(done.stdout)
    assert [file["file"] for file in facts["files"]] == [f"onnx/int8/{n}.onnx" for n in GRAPHS]
    assert facts["verified"]["int8"]["passed"] is True
    assert done.stderr == f"wrote {target} with int8\n"
    with pytest.raises(OutputExistsError, match="--overwrite"):
        CliRunner().invoke(export, arguments, catch_exceptions=False)
    for wrong in (["--opset", "16"], ["--precision", "int4"], ["-o", ""]):
        assert CliRunner().invoke(export, [*arguments, *wrong]).exit_code == 2


def test_many_weights_lie_beside_the_graph(
    exported_all, open_onnx, tmp_path, monkeypatch, _bundle_once
):
    onnx_ir = pytest.importorskip("onnx_ir", reason="needs the package onnx_ir")
    source = exported_all.path / "onnx" / "fp32" / "image_encoder.onnx"
    monkeypatch.setattr(onnx_proto, "_MOST_INLINE_BYTES", 10_000)
    path = tmp_path / "image_encoder.onnx"
    onnx_proto.write_model(onnx_ir.load(source), path)
    assert {p.name for p in tmp_path.iterdir()} == {path.name, f"{path.name}.data"}
    size = (tmp_path / f"{path.name}.data").stat().st_size
    facts = check_onnx(path.read_bytes(), path.name, num_data_bytes=size)
    assert facts.external == (f"{path.name}.data",)
    weights = sum(p.numel() for p in load_reference(_bundle_once).vision.parameters())
    assert size > 3 * weights
    assert path.stat().st_size < source.stat().st_size / 2
    image = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    got, want = (open_onnx(p)({"image_BHW3": image})["f_BND"] for p in (path, source))
    np.testing.assert_array_equal(got, want)
