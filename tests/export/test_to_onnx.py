"""The ONNX graphs against PyTorch: every length, budget and batch; what is in them; refusals."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
import pytest
import torch

from tokenfuse_sdk.bundle import read_bundle
from tokenfuse_sdk.config import FUSION_KINDS, ModelConfig
from tokenfuse_sdk.errors import (
    BundleMissingFileError,
    ConfigError,
    OutputExistsError,
    OutputPathError,
    UnsupportedModelError,
)
from tokenfuse_sdk.graphs import (
    GRAPH_PRECISIONS,
    GRAPHS,
    METADATA,
    fused_cache,
    known_cache,
    text_lengths,
)
from tokenfuse_training.model import JointModel

onnx = pytest.importorskip("onnx", reason="needs the package onnx")
pytest.importorskip("onnxscript", reason="needs the package onnxscript")

from tokenfuse_export.export import BundleExport  # noqa: E402
from tokenfuse_export.to_onnx import export_onnx, load_reference  # noqa: E402

# float32 sums in another order, for a model of a few layers.
_BOUND = 2e-5


@pytest.fixture(scope="module")
def model(_bundle_once: pathlib.Path) -> JointModel:
    return load_reference(_bundle_once)


@pytest.fixture(scope="module")
def onnx_folder(exported_all: BundleExport) -> pathlib.Path:
    return exported_all.path / "onnx"


@pytest.fixture(scope="module")
def calls(onnx_folder: pathlib.Path, open_onnx: Any) -> dict[str, Any]:
    return {name: open_onnx(onnx_folder / "fp32" / f"{name}.onnx") for name in GRAPHS}


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


def _no_past(config: ModelConfig, batch_size: int) -> dict[str, np.ndarray]:
    heads, head_dim = config.decoder.num_heads, config.decoder.head_dim
    empty = np.zeros((batch_size, heads, 0, head_dim), np.float32)
    return dict.fromkeys(known_cache(config), empty)


def _renamed(values: dict[str, np.ndarray], names: Any, new_names: Any) -> dict[str, np.ndarray]:
    return {new: values[name] for name, new in zip(names, new_names, strict=True)}


def _fused_past(config: ModelConfig, fused: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return _renamed(fused, fused_cache(config, "present"), fused_cache(config))


def _check_chain(
    model: JointModel, calls: dict[str, Any], *, budget: int, batch: int, lengths: tuple[int, int]
) -> None:
    """All three graphs, each fed by the one before: at once, and step by step with a cache."""
    text_length, answer_length = lengths
    config = model.config
    image = np.random.default_rng(1).uniform(-1, 1, (batch, 32, 32, 3)).astype(np.float32)
    text, answer = _ids(model, text_length, 3, batch), _ids(model, answer_length, 4, batch)
    text[-1, text_length // 2 + 1 :] = 0
    with torch.no_grad():
        f_BND = model.encode_image(torch.from_numpy(image), budget)
        fused, mask = model.fuse(f_BND, torch.from_numpy(text), budget)
        logits = model.decode(torch.from_numpy(answer), fused, mask)
    # A smaller budget is the beginning of the full one.
    got_f = calls["image_encoder"]({"image_BHW3": image})["f_BND"][:, :budget].copy()
    _assert_close(got_f, f_BND)
    got = calls["text_fusion"]({"f_BND": got_f, "text_BL": text})
    _assert_close(got["fused_BNT"], fused)
    cache = _fused_past(config, got)
    at_once = calls["decoder"]({"answer_BA": answer} | _no_past(config, batch) | cache)
    _assert_close(at_once["logits_BAV"], logits)
    past, steps = _no_past(config, batch), []
    for i in range(answer_length):
        step = calls["decoder"]({"answer_BA": answer[:, i : i + 1]} | past | cache)
        steps.append(step["logits_BAV"])
        past = _renamed(step, known_cache(config, "present"), known_cache(config))
    _assert_close(np.concatenate(steps, axis=1), logits)
    for name, value in past.items():
        assert value.shape[2] == answer_length
        present = at_once[name.replace("past_key_values", "present")]
        np.testing.assert_allclose(value, present, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("budget", "batch"), [(2, 1), (4, 3), (8, 2)])
def test_every_budget_in_batches(model, calls, budget, batch):
    _check_chain(model, calls, budget=budget, batch=batch, lengths=(16, 5))


@pytest.mark.parametrize("lengths", [(1, 1), (13, 2), (64, 32)])
def test_every_length(model, calls, lengths):
    _check_chain(model, calls, budget=8, batch=2, lengths=lengths)


def test_the_token_map_is_the_mean_attention_of_the_resampler(model, calls):
    image = np.random.default_rng(1).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    got = calls["image_encoder"]({"image_BHW3": image})["weights_BNS"]
    with torch.no_grad():
        part = model.fusion.image_resampler
        phi = part.attention
        q = phi.query(part.latents).unflatten(-1, (phi.num_heads, -1))
        tokens = model.image_projection(model.vision(torch.from_numpy(image)))
        k = phi.key(tokens).unflatten(-1, (phi.num_heads, -1))
        scores = torch.einsum("nhd,bshd->bhns", q, k) / q.shape[-1] ** 0.5
        want = torch.softmax(scores, -1).mean(1)
    np.testing.assert_allclose(got, want.numpy(), rtol=0, atol=1e-6)


def test_names_free_axes_and_facts(model, onnx_folder, _bundle_once):
    config = model.config
    batch, latents = "batch", "num_latents"
    inputs = {
        "image_encoder": {"image_BHW3": [batch]},
        "text_fusion": {"f_BND": [batch, latents], "text_BL": [batch, "num_text_tokens"]},
        "decoder": {"answer_BA": [batch, "num_answer_tokens"]}
        | {name: [batch, "num_past_tokens"] for name in known_cache(config)}
        | {name: [batch, latents] for name in fused_cache(config)},
    }
    outputs = {
        "image_encoder": ["f_BND", "weights_BNS"],
        "text_fusion": ["fused_BNT", *fused_cache(config, "present")],
        "decoder": ["logits_BAV", *known_cache(config, "present")],
    }
    float32, int32 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT32
    for precision in GRAPH_PRECISIONS:
        for name in GRAPHS:
            proto = onnx.load(onnx_folder / precision / f"{name}.onnx")
            assert [(o.domain, o.version) for o in proto.opset_import] == [("", 20)]
            assert {node.domain for node in proto.graph.node} == {""}
            facts = {prop.key: prop.value for prop in proto.metadata_props}
            assert ModelConfig.from_dict(json.loads(facts[METADATA["config"]])) == config
            assert facts[METADATA["precision"]] == precision
            assert facts[METADATA["weights"]] == read_bundle(_bundle_once).digest
            assert json.loads(facts[METADATA["lengths"]]) == list(text_lengths(config))
            assert {v.name: _free_axes(v) for v in proto.graph.input} == inputs[name]
            assert [v.name for v in proto.graph.output] == outputs[name]
            for value in (*proto.graph.input, *proto.graph.output):
                is_ids = value.name in ("text_BL", "answer_BA")
                assert value.type.tensor_type.elem_type == (int32 if is_ids else float32)
    order = [v.name for v in onnx.load(onnx_folder / "fp32" / "decoder.onnx").graph.input]
    assert order[1:] == [
        f"past_key_values.{i}.{source}.{part}"
        for i in range(config.decoder.num_layers)
        for source in ("decoder", "encoder")
        for part in ("key", "value")
    ]


def _free_axes(value: Any) -> list[str]:
    return [dim.dim_param for dim in value.type.tensor_type.shape.dim if dim.dim_param]


def test_ops_that_runtimes_know_as_one_node(model, onnx_folder):
    for precision in GRAPH_PRECISIONS:
        path = onnx_folder / precision / "image_encoder.onnx"
        ops = [node.op_type for node in onnx.load(path).graph.node]
        layers = model.config.vision.num_layers
        assert ops.count("LayerNormalization") == 2 * layers + 1
        assert ops.count("Gelu") == layers + len(model.config.vision.stem_widths)
        assert "Erf" not in ops


def _types(proto: Any) -> dict[str, int]:
    """The element type of every value of a graph."""
    inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    return {v.name: v.type.tensor_type.elem_type for v in values} | {
        t.name: t.data_type for t in inferred.initializer
    }


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8_fp16"])
@pytest.mark.parametrize("name", GRAPHS)
def test_what_is_rounded_and_what_is_not(onnx_folder, precision, name):
    """Products are of 16 bits; norms, softmax and sums over many values are of float32."""
    proto = onnx.load(onnx_folder / precision / f"{name}.onnx")
    types, float32 = _types(proto), onnx.TensorProto.FLOAT
    is_fp16 = precision != "bf16"
    half = onnx.TensorProto.FLOAT16 if is_fp16 else onnx.TensorProto.BFLOAT16
    seen = set()
    for node in proto.graph.node:
        of = {types[key] for key in (*node.input, *node.output)} - {onnx.TensorProto.INT64}
        if node.op_type in ("LayerNormalization", "Softmax", "ReduceMean", "Pow", "Sqrt", "Div"):
            assert of == {float32}, node
            seen.add(node.op_type)
        elif node.op_type == "MatMul" or (node.op_type == "Conv" and is_fp16):
            assert of == {half}, node
            seen.add(node.op_type)
    assert {"MatMul", "Softmax", "ReduceMean"} <= seen


def test_the_files_say_nothing_of_this_machine(onnx_folder):
    for path in onnx_folder.rglob("*.onnx"):
        data = path.read_bytes()
        for word in (b"site-packages", str(pathlib.Path(__file__).parents[2]).encode(), b".py"):
            assert word not in data


def test_another_resampler_opset_and_the_shortest_answers(bundle_parts, tmp_path, open_onnx):
    config = _config(
        bundle_parts,
        vision={"class_token": True, "distillation_token": True, "stem_widths": ()},
        fusion={"resampler": "spatial", "combination": "residual", "activation": "gelu_tanh"},
        decoder={"max_tokens": 2},
    )
    torch.manual_seed(0)
    model = JointModel(config).train()
    export = export_onnx(model, tmp_path / "graphs", opset=17)
    assert export.verified["fp32"].passed
    assert model.training
    proto = onnx.load(export.folder / "fp32" / "decoder.onnx")
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", 17)]
    # No bundle: there is no file whose hash it could be.
    assert {p.key: p.value for p in proto.metadata_props}[METADATA["weights"]] == ""
    calls = {name: open_onnx(export.folder / "fp32" / f"{name}.onnx") for name in GRAPHS}
    _check_chain(model.eval(), calls, budget=4, batch=2, lengths=(9, 2))


@pytest.mark.parametrize("kind", [kind for kind in FUSION_KINDS if kind != "joint_adaptive"])
def test_a_baseline_is_refused(bundle_parts, tmp_path, kind):
    model = JointModel(_config(bundle_parts, fusion={"kind": kind}))
    with pytest.raises(UnsupportedModelError, match=kind):
        export_onnx(model, tmp_path / "graphs")
    assert list(tmp_path.iterdir()) == []


def test_options_that_are_refused(bundle_parts, tmp_path):
    model = JointModel(bundle_parts["config"])
    target = tmp_path / "graphs"
    for options in (
        {"opset": 16},
        {"opset": 24},
        {"opset": True},
        {"precisions": ()},
        {"precisions": ("fp64",)},
        {"precisions": "int4"},
        {"opset": 18, "precisions": ("int8_fp16",)},
        {"calibration": tmp_path / "nothing", "precisions": ("int8",)},
        {"calibration": tmp_path, "precisions": ("int8",)},
    ):
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
