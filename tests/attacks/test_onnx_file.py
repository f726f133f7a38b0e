"""Hostile ONNX files: what leads out, never ends or means two things is refused by our reader.

The oracle is the official package, and `external_of`, which finds every tensor that it has read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tokenfuse_sdk import errors
from tokenfuse_sdk.onnx_file import check_onnx, check_onnx_files

NAME, BESIDE, NUM_BYTES = "decoder.onnx", "decoder.onnx.data", 1000


def check(data: bytes | onnx.ModelProto, num_data_bytes: int | None = NUM_BYTES):
    if isinstance(data, onnx.ModelProto):
        data = data.SerializeToString()
    return check_onnx(data, NAME, num_data_bytes=num_data_bytes)


def tensor(**external: object) -> TensorProto:
    """Four values, outside of the file where that is said."""
    made = numpy_helper.from_array(np.arange(4, dtype=np.float32), "t")
    if external:
        made.ClearField("raw_data")
        made.data_location = TensorProto.EXTERNAL
        for key, value in external.items():
            made.external_data.add(key=key, value=str(value))
    return made


def outside(location: str = BESIDE, **others: object) -> TensorProto:
    return tensor(**{"location": location, "offset": 0, "length": 16, **others})


def model(*nodes: onnx.NodeProto, initializers=()) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["B"]) for n in ("x", "y"))
    nodes = nodes or (helper.make_node("Identity", ["x"], ["y"]),)
    graph = helper.make_graph(list(nodes), "g", [x], [y], list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def in_initializer(t: TensorProto) -> onnx.ModelProto:
    return model(initializers=[t])


def in_sparse_initializer(t: TensorProto, *, indices: bool = False) -> onnx.ModelProto:
    made = model()
    sparse = made.graph.sparse_initializer.add(dims=[100])
    sparse.values.CopyFrom(tensor() if indices else t)
    sparse.indices.CopyFrom(t if indices else tensor())
    return made


def in_indices(t: TensorProto) -> onnx.ModelProto:
    return in_sparse_initializer(t, indices=True)


def in_attribute(t: TensorProto) -> onnx.ModelProto:
    return model(helper.make_node("Constant", [], ["y"], value=t))


def in_attribute_of_many(t: TensorProto) -> onnx.ModelProto:
    return model(helper.make_node("Constant", [], ["y"], value=[tensor(), t]))


def in_sparse_attribute(t: TensorProto) -> onnx.ModelProto:
    sparse = in_sparse_initializer(t).graph.sparse_initializer[0]
    return model(helper.make_node("Constant", [], ["y"], sparse_value=sparse))


def in_sparse_attribute_of_many(t: TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["y"])
    attribute = node.attribute.add(name="v", type=onnx.AttributeProto.SPARSE_TENSORS)
    attribute.sparse_tensors.append(in_sparse_initializer(t).graph.sparse_initializer[0])
    return model(node)


def in_subgraph(t: TensorProto) -> onnx.ModelProto:
    return model(helper.make_node("If", ["x"], ["y"], then_branch=in_attribute(t).graph))


def in_subgraph_of_many(t: TensorProto) -> onnx.ModelProto:
    graphs = [model().graph, in_initializer(t).graph]
    return model(helper.make_node("If", ["x"], ["y"], branches=graphs))


PLACES = [
    in_initializer,
    in_sparse_initializer,
    in_indices,
    in_attribute,
    in_attribute_of_many,
    in_sparse_attribute,
    in_sparse_attribute_of_many,
    in_subgraph,
    in_subgraph_of_many,
]


def external_of(message: Message) -> Iterator[dict[str, str]]:
    """External data of every tensor in a message, wherever it lies."""
    if isinstance(message, TensorProto) and message.data_location == TensorProto.EXTERNAL:
        yield {entry.key: entry.value for entry in message.external_data}
    for _, value in message.ListFields():
        for part in value if hasattr(value, "extend") else (value,):
            if isinstance(part, Message):
                yield from external_of(part)


@pytest.mark.parametrize("place", PLACES)
def test_a_tensor_outside_is_found_wherever_it_lies(place):
    made = place(outside())
    assert list(external_of(made)) == [{"location": BESIDE, "offset": "0", "length": "16"}]
    assert check(made).external == (BESIDE,)
    assert check(place(tensor())).external == ()
    with pytest.raises(errors.BundlePathError, match="refers to the file 'secret'"):
        check(place(outside("secret")))
    with pytest.raises(errors.BundleMissingFileError, match="not there"):
        check(made, num_data_bytes=None)


@pytest.mark.parametrize(
    "location",
    [
        "",
        "/etc/passwd",
        "../decoder.onnx.data",
        f"./{BESIDE}",
        f"a/../{BESIDE}",
        f"sub/{BESIDE}",
        f"C:\\{BESIDE}",
        f"..\\{BESIDE}",
        f"{BESIDE}\0",
        f"{BESIDE}\0/etc/passwd",
        f" {BESIDE}",
        f"{BESIDE}/",
        BESIDE.upper(),
        "decoder.onnx%2Edata",
        "%2e%2e/decoder.onnx.data",
        "file:///etc/passwd",
        "text_fusion.onnx.data",
        "../../model.safetensors",
        "decoder.onnx",
        "*/_ORT_MEM_ADDR_/*",
        "x" * 4000,
    ],
)
def test_locations_that_are_not_the_file_beside(location):
    with pytest.raises(errors.BundlePathError, match=r"alone$") as caught:
        check(in_initializer(outside(location)))
    assert len(str(caught.value)) < 600


def test_a_location_that_is_missing():
    with pytest.raises(errors.BundlePathError, match="refers to the file ''"):
        check(in_initializer(tensor(offset=0, length=16)))


@pytest.mark.parametrize("key", ["offset", "length"])
@pytest.mark.parametrize(
    "value", ["", "-1", "+1", " 1", "1 ", "1_0", "0x10", "1e3", "1.0", "٣", "9" * 19, "nan", "1\n"]
)
def test_offsets_and_lengths_that_are_none(key, value):
    with pytest.raises(errors.BundleFormatError, match="need two numbers"):
        check(in_initializer(outside(**{key: value})))


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 1001), (1001, 0), (990, 11), (10**17, 1), (1, 10**18 - 1)]
)
def test_bytes_outside_of_the_file_beside(offset, length):
    with pytest.raises(errors.BundlePathError, match="which has 1000"):
        check(in_initializer(outside(offset=offset, length=length)))


def test_tensors_may_share_bytes_and_end_with_the_file():
    tensors = [outside(offset=984), outside(offset=984), outside(offset=1000, length=0)]
    assert check(model(initializers=tensors)).external == (BESIDE,)


def test_other_keys_of_external_data():
    with pytest.raises(errors.BundleFormatError, match="basepath"):
        check(in_initializer(outside(basepath="/")))
    twice = outside()
    twice.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(errors.BundleFormatError, match="'location' twice"):
        check(in_initializer(twice))


def test_a_tensor_whose_data_is_nowhere_or_in_two_places():
    nowhere = tensor(location=BESIDE)
    nowhere.ClearField("external_data")
    hidden = outside()
    hidden.data_location = TensorProto.DEFAULT
    unset = outside()
    unset.ClearField("data_location")
    both = outside()
    both.raw_data = b"\0" * 16
    floats = outside()
    floats.float_data.extend([1.0] * 4)
    for made in (nowhere, hidden, unset, both, floats):
        with pytest.raises(errors.BundleFormatError, match="neither in the file nor outside"):
            check(in_initializer(made))


@pytest.mark.parametrize("value", [2, (1 << 32) + 1, (1 << 64) - 1])
def test_a_data_location_that_readers_take_for_another(value):
    data = outside("secret").SerializeToString()
    made = data.replace(b"\x70\x01", b"\x70" + varint(value))
    assert made != data
    with pytest.raises(errors.BundleFormatError, match="neither in the file nor outside"):
        check(wire(made))


def test_training_and_functions():
    made = model()
    made.training_info.add().algorithm.CopyFrom(in_initializer(outside("secret")).graph)
    with pytest.raises(errors.BundleFormatError, match="holds training"):
        check(made)
    made = model()
    function = made.functions.add(name="f", domain="")
    function.node.add(op_type="Constant").attribute.add(name="v").t.CopyFrom(outside("secret"))
    with pytest.raises(errors.BundleFormatError, match="holds functions"):
        check(made)


@pytest.mark.parametrize(
    "domain", ["com.microsoft", "ai.onnx.ml", "AI.ONNX", "ai.onnx\0", "\x1b[2J"]
)
def test_operators_of_another_domain(domain):
    made = model(helper.make_node("Gelu", ["x"], ["y"], domain=domain))
    with pytest.raises(errors.BundleFormatError, match="domain") as caught:
        check(made)
    assert repr(domain) in str(caught.value)
    inner = model(helper.make_node("If", ["x"], ["y"], then_branch=made.graph))
    with pytest.raises(errors.BundleFormatError, match="domain"):
        check(inner)


@pytest.mark.parametrize(
    "opsets", [[], [("", 20), ("", 21)], [("", 20), ("com.microsoft", 1)], [("", 0)], [("", -1)]]
)
def test_opsets_that_are_not_one_of_the_standard_operators(opsets):
    made = model()
    del made.opset_import[:]
    made.opset_import.extend(helper.make_opsetid(*opset) for opset in opsets)
    with pytest.raises(errors.BundleFormatError, match=r"opset|domain"):
        check(made)


def test_metadata_twice_too_much_and_too_long():
    made = model()
    made.metadata_props.add(key="a", value="1")
    made.metadata_props.add(key="a", value="2")
    with pytest.raises(errors.BundleFormatError, match="'a' twice"):
        check(made)
    del made.metadata_props[:]
    made.metadata_props.add(key="a", value="x" * ((1 << 20) + 1))
    with pytest.raises(errors.BundleFormatError, match="at most 1048576"):
        check(made)
    del made.metadata_props[:]
    for i in range(65):
        made.metadata_props.add(key=str(i))
    with pytest.raises(errors.BundleFormatError, match="more than 64"):
        check(made)


def test_graphs_in_graphs():
    made = model()
    for depth in range(2, 1000):
        made = model(helper.make_node("If", ["x"], ["y"], then_branch=made.graph))
        data = made.SerializeToString()
        if depth <= 8:
            check(data)
            continue
        with pytest.raises(errors.BundleFormatError, match="deeper than 8"):
            check(data)
        if depth == 20:
            break
    # Ten thousand, which no library writes.
    graph = b""
    for _ in range(10_000):
        graph = field(1, field(5, field(6, graph)))
    with pytest.raises(errors.BundleFormatError, match="deeper than 8"):
        check(wire(graph=graph))


def varint(value: int) -> bytes:
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def wire(tensor: bytes | None = None, *, graph: bytes = b"", more: bytes = b"") -> bytes:
    """A model by its bytes: opset 20, and a graph with an initializer."""
    graph += b"" if tensor is None else field(5, tensor)
    return field(8, b"\x10\x14") + field(7, graph) + more


def test_a_model_by_its_bytes_is_read():
    assert check(wire(outside().SerializeToString())).external == (BESIDE,)
    assert onnx.ModelProto.FromString(wire(outside().SerializeToString()))


@pytest.mark.parametrize(
    "more",
    [
        b"\x80",
        b"\xff" * 9,
        b"\x08",
        b"\x08" + b"\x80" * 10 + b"\x01",
        b"\x08" + b"\xff" * 9 + b"\x7f",
        b"\x12",
        b"\x12\x80",
        b"\x12\x05abcd",
        b"\x12" + varint((1 << 64) - 1),
        b"\x12" + varint(1 << 31),
        b"\x09abc",
        b"\x0dabc",
        b"\x00\x00",
        b"\x0b\x0c",
        b"\x0f",
        b"\x0a\x01a",
        varint(999 << 3 | 2) + b"\x00",
        varint((1 << 32) | 0x12) + b"\x00",
    ],
    ids=lambda data: data[:12].hex(),
)
def test_bytes_that_are_no_fields_of_a_model(more):
    with pytest.raises(errors.BundleFormatError, match=r"decoder\.onnx "):
        check(wire(more=more))


@pytest.mark.parametrize("data", [b"", b"hello", b"\x80\x04\x95", b"\0" * 64, b"PK\x03\x04", b"{}"])
def test_files_that_are_no_model(data):
    with pytest.raises(errors.BundleFormatError, match=r"decoder\.onnx "):
        check(data)


def test_a_message_that_comes_twice_and_is_merged_by_protobuf():
    """Each half is fine; as one, the tensor's data is in two places."""
    halves = [field(5, made.SerializeToString()) for made in (outside(), tensor())]

    def with_attribute(data: bytes) -> bytes:
        return wire(graph=field(1, field(5, data)))

    for half in halves:
        check(with_attribute(half))
    data = with_attribute(halves[0] + halves[1])
    merged = onnx.ModelProto.FromString(data).graph.node[0].attribute[0].t
    assert merged.raw_data
    assert merged.external_data
    with pytest.raises(errors.BundleFormatError, match="twice"):
        check(data)
    with pytest.raises(errors.BundleFormatError, match="twice"):
        check(wire(more=field(7, b"")))
    with pytest.raises(errors.BundleFormatError, match="twice"):
        check(wire(b"\x70\x00\x70\x01"))


@pytest.mark.parametrize("part", [b"\x0a\x00", b"\x2a\x00"], ids=["nodes", "initializers"])
def test_a_million_fields(part):
    began = time.process_time()
    with pytest.raises(errors.BundleFormatError, match="more fields"):
        check(wire(graph=part * 1_100_000))
    # Two seconds or so; without a bound, a file of 2 GB would take half an hour.
    assert time.process_time() - began < 20


def test_text_that_is_none():
    for made in (
        wire(outside().SerializeToString().replace(b"data", b"dat\xff")),
        wire(more=field(14, field(1, b"\xff"))),
        wire(graph=field(1, field(7, b"\xff"))),
    ):
        with pytest.raises(errors.BundleFormatError, match="not UTF-8"):
            check(made)


def test_a_file_of_weights_that_no_graph_refers_to():
    data = memoryview(model().SerializeToString())
    with pytest.raises(errors.BundleFormatError, match="does not refer to it"):
        check_onnx_files({NAME: data, BESIDE: memoryview(b"code")})
    other = memoryview(in_initializer(outside()).SerializeToString())
    with pytest.raises(errors.BundlePathError, match=r"text_fusion\.onnx refers to the file"):
        check_onnx_files({NAME: data, "text_fusion.onnx": other, BESIDE: memoryview(b"code")})


SEEDS = [place(outside(offset=4)).SerializeToString() for place in PLACES]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_files_are_refused_or_read_as_onnx_reads_them(data):
    made = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(made)))
        cut = data.draw(st.integers(0, 3))
        new = data.draw(st.binary(max_size=3) | st.sampled_from([b"\x70\x01", b"\x6a\x00"]))
        made[at : at + cut] = new
    if data.draw(st.booleans()):
        del made[data.draw(st.integers(0, len(made))) :]
    try:
        facts = check(bytes(made))
    except errors.BundleError as error:
        assert NAME in str(error)
        return
    try:
        read = onnx.ModelProto.FromString(bytes(made))
    except DecodeError:
        return
    found = list(external_of(read))
    assert {entry["location"] for entry in found} == set(facts.external)
    assert all(int(e["offset"]) + int(e["length"]) <= NUM_BYTES for e in found)
    assert [opset.version for opset in read.opset_import] == [facts.opset]
    assert {entry.key: entry.value for entry in read.metadata_props} == facts.metadata
    assert not read.functions
    assert not read.training_info


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data):
    with pytest.raises(errors.BundleFormatError):
        check(data)
