"""The ONNX graphs against PyTorch: every length, budget and batch; what is refused."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
import pytest
import torch

from tokenfuse_sdk.config import FUSION_KINDS, ModelConfig
from tokenfuse_sdk.errors import (
    BundleMissingFileError,
    ConfigError,
    OutputExistsError,
    OutputPathError,
    TokenBudgetError,
    UnsupportedModelError,
)
from tokenfuse_training.model import JointModel

onnx = pytest.importorskip("onnx", reason="needs the package onnx")
pytest.importorskip("onnxscript", reason="needs the package onnxscript")

from tokenfuse_export.to_onnx import (  # noqa: E402
    ERROR_BOUND,
    GRAPHS,
    ExportError,
    GraphReport,
    OnnxExport,
    export_onnx,
    load_reference,
)
from tokenfuse_export.verify_onnx import (  # noqa: E402
    refuse_errors,
    run_with_onnxruntime,
    run_with_reference,
)

# float32 sums in another order, for a model of a few layers.
_BOUND = 2e-5


@pytest.fixture(scope="module")
def exported(_bundle_once: pathlib.Path, tmp_path_factory: Any) -> tuple[JointModel, OnnxExport]:
    folder = tmp_path_factory.mktemp("onnx") / "graphs"
    return load_reference(_bundle_once), export_onnx(_bundle_once, folder)


def _open(path: pathlib.Path) -> Any:
    try:
        return run_with_onnxruntime(path)
    except ImportError:
        return run_with_reference(path)


def _config(bundle_parts: dict, **parts: dict) -> ModelConfig:
    config = bundle_parts["config"]
    changed = {
        name: dataclasses.replace(getattr(config, name), **values) for name, values in parts.items()
    }
    return dataclasses.replace(config, **changed)


def _assert_close(got: np.ndarray, want: torch.Tensor) -> None:
    scale = float(want.square().mean().sqrt())
    assert got.shape == tuple(want.shape)
    assert np.abs(got - want.numpy()).max() <= _BOUND * scale


def _ids(model: JointModel, length: int, seed: int = 3, batch_size: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = (batch_size, length)
    return rng.integers(2, model.config.text.vocab_size, shape).astype(np.int32)


def test_three_files_and_their_report(exported):
    model, export = exported
    assert tuple(report.name for report in export.graphs) == GRAPHS
    assert sorted(path.name for path in export.folder.iterdir()) == sorted(
        f"{name}.onnx" for name in GRAPHS
    )
    assert export.token_budget == model.config.fusion.num_latents
    for report in export.graphs:
        assert report.max_abs_error > 0
        assert report.max_rel_error < _BOUND < ERROR_BOUND
        assert report.size_bytes == (export.folder / f"{report.name}.onnx").stat().st_size


def test_shapes_names_and_facts(exported):
    model, export = exported
    config = model.config
    free = {"text_BL": "num_text_tokens", "answer_BA": "num_answer_tokens"}
    for name in GRAPHS:
        proto = onnx.load(export.folder / f"{name}.onnx")
        assert [(o.domain, o.version) for o in proto.opset_import] == [("", export.opset)]
        facts = {prop.key: prop.value for prop in proto.metadata_props}
        assert ModelConfig.from_dict(json.loads(facts["tokenfuse.config"])) == config
        assert facts["tokenfuse.token_budget"] == str(export.token_budget)
        for value in proto.graph.input:
            dims = value.type.tensor_type.shape.dim
            named = [dim.dim_param for dim in dims if dim.dim_param]
            assert named == ([free[value.name]] if value.name in free else [])
        assert not any(tensor.external_data for tensor in proto.graph.initializer)


def test_ops_that_runtimes_know_as_one_node(exported):
    model, export = exported
    ops = [node.op_type for node in onnx.load(export.folder / "image_encoder.onnx").graph.node]
    layers = model.config.vision.num_layers
    assert ops.count("LayerNormalization") == 2 * layers + 1
    assert ops.count("Gelu") == layers + len(model.config.vision.stem_widths)
    assert "Erf" not in ops and "Expand" not in ops


def test_the_files_say_nothing_of_this_machine(exported):
    _, export = exported
    for path in export.folder.iterdir():
        data = path.read_bytes()
        for word in (b"site-packages", str(pathlib.Path(__file__).parents[2]).encode(), b".py"):
            assert word not in data


@pytest.mark.parametrize("length", [1, 2, 13, 64])
def test_every_text_length(exported, length):
    model, export = exported
    assert length <= model.config.text.max_tokens
    text = _ids(model, length)
    text[:, length // 2 + 1 :] = 0
    image = np.random.default_rng(1).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    with torch.no_grad():
        f_BND = model.encode_image(torch.from_numpy(image))
        fused, _ = model.fuse(f_BND, torch.from_numpy(text))
    got = _open(export.folder / "image_encoder.onnx")(image_BHW3=image)
    _assert_close(got, f_BND)
    run = _open(export.folder / "text_fusion.onnx")
    _assert_close(run(f_BND=f_BND.numpy(), text_BL=text), fused)


@pytest.mark.parametrize("length", [1, 2, 32])
def test_every_answer_length(exported, length):
    model, export = exported
    answer = _ids(model, length)
    num_latents, width = export.token_budget, model.config.text.width
    fused = torch.randn(1, num_latents, width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        want = model.decode(torch.from_numpy(answer), fused, None)
    run = _open(export.folder / "decoder.onnx")
    _assert_close(run(answer_BA=answer, fused_BNT=fused.numpy()), want)


def test_another_budget_batch_resampler_and_opset(bundle_parts, tmp_path):
    config = _config(
        bundle_parts,
        vision={"class_token": True, "stem_widths": ()},
        fusion={"resampler": "spatial", "combination": "residual", "activation": "gelu_tanh"},
    )
    torch.manual_seed(0)
    model = JointModel(config).train()
    export = export_onnx(model, tmp_path / "graphs", token_budget=4, batch_size=2, opset=17)
    assert model.training
    assert (export.token_budget, export.batch_size, export.opset) == (4, 2, 17)
    text = _ids(model, 9, batch_size=2)
    text[1, 5:] = 0
    f_BND = torch.randn(2, 4, config.fusion.width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        fused, _ = model.eval().fuse(f_BND, torch.from_numpy(text), 4)
    run = _open(export.folder / "text_fusion.onnx")
    _assert_close(run(f_BND=f_BND.numpy(), text_BL=text), fused)


@pytest.mark.parametrize("kind", [kind for kind in FUSION_KINDS if kind != "joint_adaptive"])
def test_a_baseline_is_refused(bundle_parts, tmp_path, kind):
    model = JointModel(_config(bundle_parts, fusion={"kind": kind}))
    with pytest.raises(UnsupportedModelError, match=kind):
        export_onnx(model, tmp_path / "graphs")
    assert list(tmp_path.iterdir()) == []


def test_options_that_are_refused(bundle_parts, tmp_path):
    model = JointModel(bundle_parts["config"])
    target = tmp_path / "graphs"
    with pytest.raises(TokenBudgetError, match="token_budget=3"):
        export_onnx(model, target, token_budget=3)
    for options in ({"opset": 16}, {"opset": 24}, {"batch_size": 0}, {"batch_size": True}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            export_onnx(model, target, **options)
    with pytest.raises(BundleMissingFileError):
        export_onnx(tmp_path / "nothing", target)
    with pytest.raises(OutputPathError, match="folder=''"):
        export_onnx(model, "", overwrite=True)
    target.mkdir()
    with pytest.raises(OutputExistsError, match="overwrite"):
        export_onnx(model, target)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("error", [2e-3, float("inf"), float("nan")])
def test_a_wrong_graph_is_refused(error):
    report = GraphReport(
        name="decoder", size_bytes=1, num_nodes=1, max_abs_error=error, max_rel_error=error
    )
    with pytest.raises(ExportError, match="decoder"):
        refuse_errors([report], 1e-3)
