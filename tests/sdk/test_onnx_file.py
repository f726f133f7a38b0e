"""What an ONNX file says: as the official package reads it, for files that package wrote."""

from __future__ import annotations

import mmap
import os
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tokenfuse_sdk import errors, onnx_messages
from tokenfuse_sdk.onnx_file import check_onnx, check_onnx_files
from tokenfuse_sdk.protobuf import BYTES, EIGHT_BYTES, FOUR_BYTES, VARINT

_KINDS = {1: EIGHT_BYTES, 2: FOUR_BYTES} | dict.fromkeys((3, 4, 5, 14), VARINT)
_MESSAGES = {
    "MODEL": "ModelProto",
    "OPSET": "OperatorSetIdProto",
    "ENTRY": "StringStringEntryProto",
    "GRAPH": "GraphProto",
    "NODE": "NodeProto",
    "ATTRIBUTE": "AttributeProto",
    "TENSOR": "TensorProto",
    "SPARSE": "SparseTensorProto",
}
# Messages that no tensor and no operator lies in, and those that are refused as a whole.
_SKIPPED = {
    "DeviceConfigurationProto",
    "FunctionProto",
    "NodeDeviceConfigurationProto",
    "Segment",
    "TensorAnnotation",
    "TrainingInfoProto",
    "TypeProto",
    "ValueInfoProto",
}


@pytest.mark.parametrize("name", _MESSAGES)
def test_the_messages_are_those_of_the_official_schema(name):
    message = getattr(onnx_messages, name)
    official = getattr(onnx.onnx_ml_pb2, _MESSAGES[name])
    descriptor = official.DESCRIPTOR
    for field in descriptor.fields:
        kind = _KINDS.get(field.type, BYTES)
        tag = field.number << 3 | kind
        assert tag in message.tags, field.name
        repeated = hasattr(getattr(official(), field.name), "extend")
        assert (tag in message.once) != repeated, field.name
        if field.message_type is not None:
            known = {*_MESSAGES.values(), *_SKIPPED}
            assert field.message_type.name in known, field.name
    numbers = {field.number for field in descriptor.fields}
    # Older packages have fewer.
    assert {tag >> 3 for tag in message.tags} - numbers <= {8, 9, 10, 16, 26}


def _model(*nodes, initializers=(), **options) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["B", 4]) for n in ("x", "y"))
    nodes = nodes or (helper.make_node("Identity", ["x"], ["y"]),)
    graph = helper.make_graph(list(nodes), "g", [x], [y], list(initializers))
    options = {"opset_imports": [helper.make_opsetid("", 20)], **options}
    return helper.make_model(graph, **options)


def _tensor(name: str, size: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.arange(size, dtype=np.float32), name)


def test_facts_are_those_that_onnx_reads(tmp_path):
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=_tensor("v", 300))],
        "inner",
        [],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, [300])],
    )
    model = _model(
        helper.make_node("If", ["b"], ["c"], then_branch=inner, else_branch=inner),
        helper.make_node("Gemm", ["x", "w"], ["y"], alpha=0.5, transB=1, domain="ai.onnx"),
        initializers=[
            _tensor("w", 400),
            helper.make_tensor("i", TensorProto.INT64, [3], [1, 2, 3]),
        ],
        doc_string="words",
        producer_name="tests",
    )
    helper.set_model_props(model, {"a": "1", "b": "ü", "c": ""})
    path = tmp_path / "decoder.onnx"
    for external in (False, True):
        onnx.save_model(
            model,
            path,
            save_as_external_data=external,
            location="decoder.onnx.data",
            size_threshold=0,
            convert_attribute=True,
        )
        read = onnx.load(path, load_external_data=False)
        files = {p.name: memoryview(p.read_bytes()) for p in tmp_path.iterdir()}
        facts = check_onnx_files(files)["decoder.onnx"]
        assert facts.opset == read.opset_import[0].version == 20
        assert facts.metadata == {p.key: p.value for p in read.metadata_props}
        assert facts.external == (("decoder.onnx.data",) if external else ())
        assert len(files) == 1 + external
    # One byte less, or none of it.
    least = len(files["decoder.onnx.data"])
    for size, error in (
        (least - 1, errors.BundlePathError),
        (None, errors.BundleMissingFileError),
    ):
        with pytest.raises(error, match=r"decoder\.onnx\.data"):
            check_onnx(files["decoder.onnx"], "decoder.onnx", num_data_bytes=size)


@pytest.mark.parametrize("domain", ["", "ai.onnx"])
def test_both_names_of_the_standard_operators(domain):
    model = _model(opset_imports=[helper.make_opsetid(domain, 17)])
    assert check_onnx(model.SerializeToString(), "a.onnx").opset == 17


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        (TensorProto.FLOAT, [1.5, -2.0]),
        (TensorProto.DOUBLE, [1.5, -2.0]),
        (TensorProto.INT32, [-1, 7]),
        (TensorProto.UINT64, [1, 1 << 63]),
        (TensorProto.STRING, [b"a", b"b"]),
        (TensorProto.BFLOAT16, [1.0, 2.0]),
    ],
)
def test_every_way_to_write_values(type_, values):
    tensor = helper.make_tensor("t", type_, [2], values)
    model = _model(initializers=[tensor])
    assert check_onnx(model.SerializeToString(), "a.onnx").external == ()


def test_numbers_that_are_not_packed():
    """As proto2 writes them, and as proto3 does: 2.5 as fields of 4 bytes, and in one of bytes."""
    tensor = helper.make_tensor("t", TensorProto.FLOAT, [2], [2.5, 2.5])
    packed = tensor.SerializeToString()
    value = np.float32(2.5).tobytes()
    unpacked = packed.replace(b"\x22\x08" + value * 2, (b"\x25" + value) * 2)
    assert unpacked != packed
    assert TensorProto.FromString(unpacked) == tensor
    model = _model(initializers=[tensor]).SerializeToString()
    # One byte more or less each way: the lengths around it stay.
    assert len(unpacked) == len(packed)
    changed = model.replace(packed, unpacked)
    assert onnx.ModelProto.FromString(changed) == onnx.ModelProto.FromString(model)
    assert check_onnx(changed, "a.onnx") == check_onnx(model, "a.onnx")


def test_two_gigabytes_of_weights_are_skipped(tmp_path, resident_bytes):
    """A sparse file: the initializer's bytes are none that anybody wrote."""
    num_bytes = (1 << 31) - 4096
    # raw_data is the tensor's last field, the tensor the graph's, the graph the model's.
    raw = b"\x4a" + _varint(num_bytes)
    tensor = b"\x08" + _varint(num_bytes // 4) + b"\x10\x01" + raw
    graph = b"\x2a" + _varint(len(tensor) + num_bytes) + tensor
    head = b"\x42\x02\x10\x14" + b"\x3a" + _varint(len(graph) + num_bytes) + graph
    path = tmp_path / "decoder.onnx"
    path.write_bytes(head)
    os.truncate(path, len(head) + num_bytes)
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    began = time.process_time()
    assert check_onnx(data, "decoder.onnx").opset == 20
    assert resident_bytes(path) <= 1 << 20
    # Milliseconds; to read it would take seconds.
    assert time.process_time() - began < 1
    data.close()


def _varint(value: int) -> bytes:
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])
