"""Graphs with their linears in 8 bits: what is in them, against NumPy; calibration."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

onnx = pytest.importorskip("onnx", reason="needs the package onnx")

from onnx.reference import ReferenceEvaluator  # noqa: E402

from tokenfuse_export.calibration import calibration_of  # noqa: E402
from tokenfuse_export.quantize import quantize_linears, weight_keys  # noqa: E402
from tokenfuse_export.ranges import input_ranges  # noqa: E402
from tokenfuse_export.reference import load_reference, open_bundle  # noqa: E402
from tokenfuse_export.verify import inputs_of  # noqa: E402
from tokenfuse_sdk.errors import ConfigError, ImageFormatError  # noqa: E402
from tokenfuse_sdk.graphs import GRAPHS  # noqa: E402

# Of one layer each: query, key, value, output, and two or three of the MLP.
_LINEARS = {
    # A layer of the vision, the projection, and key, value and output of the resampler.
    "image_encoder": 6 + 1 + 3,
    # A layer of the text, its projection, key, value and output of its resampler; attention, MLP
    # and a layer of the fusion; its projection; keys and values of the decoder.
    "text_fusion": 7 + 1 + 3 + (4 + 2 + 6) + 1 + 2,
    # Self-attention, query and output of the other, MLP, logits.
    "decoder": 4 + 2 + 3 + 1,
}


@pytest.fixture(scope="module")
def shown(_bundle_once: pathlib.Path) -> tuple[Any, Any]:
    model = load_reference(_bundle_once)
    return model, inputs_of(open_bundle(_bundle_once), model)


def _constants(proto: Any) -> dict[str, np.ndarray]:
    return {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}


@pytest.mark.parametrize("precision", ["int8", "int8_fp16"])
@pytest.mark.parametrize("name", GRAPHS)
def test_pairs_stand_around_every_linear_and_nothing_else(exported_all, precision, name):
    proto = onnx.load(exported_all.path / "onnx" / precision / f"{name}.onnx")
    made_by = {output: node for node in proto.graph.node for output in node.output}
    num_linears = 0
    for node in proto.graph.node:
        sources = [made_by[key].op_type if key in made_by else "" for key in node.input]
        if "DequantizeLinear" not in sources:
            continue
        assert node.op_type == "MatMul"
        assert sources == ["DequantizeLinear", "DequantizeLinear"]
        x = made_by[made_by[node.input[0]].input[0]]
        assert x.op_type == "QuantizeLinear"
        # What is rounded and what is read again mean the same.
        assert list(x.input[1:]) == list(made_by[node.input[0]].input[1:])
        num_linears += 1
    assert num_linears == _LINEARS[name]


@pytest.mark.parametrize(
    ("precision", "dtype", "zero"),
    [("int8", np.float32, np.uint8(128)), ("int8_fp16", np.float16, np.int8(0))],
)
def test_weights_by_columns_and_inputs_by_their_range(exported_all, shown, precision, dtype, zero):
    model, inputs = shown
    ranges = input_ranges(model, calibration_of(model, inputs))
    values = _constants(onnx.load(exported_all.path / "onnx" / precision / "decoder.onnx"))
    name = "decoder.lm_head"
    scales, rounded = values[f"{name}.weight_scale"], values[f"{name}.weight_int8"]
    weights_IO = model.decoder.lm_head.weight.detach().numpy().T
    assert scales.dtype == dtype and rounded.dtype == np.int8
    np.testing.assert_allclose(scales, np.abs(weights_IO).max(0) / 127, rtol=1e-3)
    # In float16 the weights were rounded before.
    tolerance = 0.5 if dtype == np.float32 else 0.6
    assert (np.abs(weights_IO / scales.astype(np.float64) - rounded) <= tolerance + 1e-3).all()
    assert np.abs(rounded).max() == 127
    # The input of the logits: its range is that of the norm before it.
    last = onnx.load(exported_all.path / "onnx" / precision / "decoder.onnx").graph
    (logits,) = (n for n in last.node if f"{name}.weight_int8_DequantizeLinear" in n.input)
    (pair,) = (n for n in last.node if logits.input[0] in n.output)
    scale, zero_point = (values[key] for key in pair.input[1:])
    np.testing.assert_allclose(float(scale), ranges[name] / 127, rtol=1e-3)
    assert zero_point == zero and zero_point.dtype == zero.dtype


def test_linears_of_equal_weights_have_the_larger_range():
    """A graph does not tell them apart: the range of the other would clip."""
    ir = pytest.importorskip("onnx_ir", reason="needs the package onnx_ir")
    first, second = torch.nn.Linear(4, 4, bias=False), torch.nn.Linear(4, 4, bias=False)
    second.weight = first.weight
    first.weight.detach().copy_(torch.eye(4))
    keys = weight_keys(torch.nn.ModuleDict({"a": first, "b": second}), torch.float32)
    weight = onnx.numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    x, y = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4]) for name in "xy"
    )
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"], "one"),
        onnx.helper.make_node("MatMul", ["h", "w"], ["y"], "two"),
    ]
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", [x], [y], [weight]),
        opset_imports=[onnx.helper.make_opsetid("", 20)],
        ir_version=10,
    )
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    assert quantize_linears(model, keys, {"a": 6.0, "b": 2.0}) == 2
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    given = np.array([[6.0, -3.0, 1.0, 0.0]], np.float32)
    (got,) = ReferenceEvaluator(proto).run(None, {"x": given})
    np.testing.assert_allclose(got, given, atol=6 / 127)


def test_products_of_integers_in_onnx_runtime(exported_all, tmp_path):
    """All linears become integer products: none stays with its pairs around it."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    for name in GRAPHS:
        path = exported_all.path / "onnx" / "int8" / f"{name}.onnx"
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        ops = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
        assert ops.count("MatMulIntegerToFloat") == _LINEARS[name]
        assert "DequantizeLinear" not in ops


def test_a_range_is_the_largest_input(shown):
    model, inputs = shown
    data = calibration_of(model, inputs)
    ranges = input_ranges(model, data)
    # What enters the first linear of the fusion's side: the projection reads the vision's output.
    with torch.no_grad():
        vision = model.vision(torch.from_numpy(data.image_CHW3))
    np.testing.assert_allclose(ranges["image_projection"], vision.abs().max(), rtol=1e-6)


def test_calibration_by_a_folder_of_pictures(shown, tmp_path):
    model, inputs = shown
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "notes.txt").write_text("no picture")
    with pytest.raises(ConfigError, match="holds no pictures"):
        calibration_of(model, inputs, pictures)
    for i, name in enumerate(("b.png", "a.JPG")):
        Image.new("RGB", (40, 30), (100 * i, 50, 200)).save(pictures / name)
    data = calibration_of(model, inputs, pictures)
    seeded = calibration_of(model, inputs).image_CHW3[-8:]
    assert data.image_CHW3.shape == (2 + 8, 32, 32, 3)
    np.testing.assert_array_equal(data.image_CHW3[2:], seeded)
    # By name: the reddish one first.
    assert data.image_CHW3[0, 16, 16, 0] > data.image_CHW3[1, 16, 16, 0]
    (pictures / "c.png").write_bytes(b"no picture")
    with pytest.raises(ImageFormatError, match=r"c\.png"):
        calibration_of(model, inputs, pictures)
