"""Layers of an engine from a real build's log, and from the inspector's JSON."""

from __future__ import annotations

import json

import pytest

from tokenfuse_export.tensorrt import builder
from tokenfuse_export.tensorrt.build_log import BuildLog
from tokenfuse_export.tensorrt.inspect import EngineFacts
from tokenfuse_export.tensorrt.layers import (
    Layer,
    UnknownWordsError,
    layers_of_inspector,
    layers_of_log,
)


@pytest.fixture(scope="module")
def log(trt) -> BuildLog:
    """Of a build of a small network that is made here: two products, and an attention."""
    module = trt.module
    log = BuildLog(module)
    builder = module.Builder(log.logger)
    network = builder.create_network(1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    shape = (2, 4, 64, 32)
    q, k, v = (network.add_input(name, module.float16, shape) for name in "qkv")
    plain, flip = module.MatrixOperation.NONE, module.MatrixOperation.TRANSPOSE
    scores = network.add_matrix_multiply(q, plain, k, flip).get_output(0)
    softmax = network.add_softmax(network.add_cast(scores, module.float32).get_output(0))
    softmax.axes = 1 << 3
    weights = network.add_cast(softmax.get_output(0), module.float16).get_output(0)
    joined = network.add_matrix_multiply(weights, plain, v, plain).get_output(0)
    output = network.add_cast(joined, module.float32).get_output(0)
    output.name = "joined"
    network.mark_output(output)
    settings = builder.create_builder_config()
    settings.profiling_verbosity = module.ProfilingVerbosity.DETAILED
    settings.num_compute_capabilities = 1
    settings.set_compute_capability(module.ComputeCapability.SM86, 0)
    assert builder.build_serialized_network(network, settings) is not None, log.errors
    return log


def test_the_layers_of_a_real_log(log):
    layers = layers_of_log(log.layers)
    lines = [line for line in log.layers.splitlines() if line.startswith("Name: ")]
    assert len(layers) == len(lines) > 0
    for layer, line in zip(layers, lines, strict=True):
        assert line.startswith(f"Name: {layer.name}, LayerType: {layer.type}, ")
    assert sum(layer.is_attention for layer in layers) == 1
    # What is written last is the output, which is float32.
    assert layers[-1].precisions == ("fp32",)
    assert {word for layer in layers for word in layer.precisions} <= {"fp16", "fp32"}


def test_other_facts_of_a_real_log(log):
    # Of copies of q, k, v and what they give, in 16 bits, more or less.
    assert 2 * 4 * 64 * 32 * 2 <= log.activation_bytes < 1 << 20
    assert log.errors == []
    assert "\n" not in "".join(log.warnings)


def test_a_build_that_fails_is_heard(trt):
    log = BuildLog(trt.module)
    builder = trt.module.Builder(log.logger)
    network = builder.create_network(0)
    assert builder.build_serialized_network(network, builder.create_builder_config()) is None
    assert log.errors and all(word.isprintable() for word in "".join(log.errors))
    assert log.layers == ""


def test_a_line_that_is_no_layer_is_refused():
    with pytest.raises(UnknownWordsError, match="Name: x, Kind"):
        layers_of_log("Layers:\nName: x, Kind: gemm")
    assert layers_of_log("Layers:\n") == ()


# The words of TensorRT 10, where what follows the outputs is of each type of layer its own.
CLASSIC = """Engine Layer Information:
Name: Reformatting CopyNode for Input Tensor 0 to conv, LayerType: Reformat, \
Inputs: [ { Name: x, Location: Device, Dimensions: [1,3,8,8], \
Format/Datatype: Row major linear FP32 format }], \
Outputs: [ { Name: y, Location: Device, Dimensions: [1,3,8,8], \
Format/Datatype: Channel major FP16 format where channel % 8 == 0 }], \
ParameterType: Reformat, Origin: REFORMAT, TacticValue: 0x00000000000003e8, StreamId: 0, Metadata:
Name: conv, LayerType: CaskConvolution, \
Inputs: [ { Name: y, Location: Device, Dimensions: [1,3,8,8], Format/Datatype: Half }], \
Outputs: [ { Name: z, Location: Device, Dimensions: [1,4,8,8], Format/Datatype: Half }, \
{ Name: s, Location: Device, Dimensions: [1], Format/Datatype: Int32 }], \
ParameterType: Convolution, Kernel: [1,1], Weights: {"Type": "Half", "Count": 12}, \
TacticName: sm80_xmma_fprop_implicit_gemm_f16f16, TacticValue: 0x1, StreamId: 0, Metadata:
Name: _gemm_mha_v2_myl3_7, LayerType: kgen, \
Inputs: [ { Name: z, Dimensions: [4,8,8], Format/Datatype: Half }], Outputs: [ { Name: o, \
Dimensions: [4,8,8], Format/Datatype: N/A due to dynamic shapes }], \
TacticName: _gemm_mha_v2_0x1, StreamId: 0, Metadata:
Name: wait, LayerType: Signal, Inputs: [], Outputs: [], ParameterType: Signal, StreamId: 0
"""


def test_the_log_of_tensorrt_10():
    assert layers_of_log(CLASSIC) == (
        Layer("Reformatting CopyNode for Input Tensor 0 to conv", "Reformat", ("fp16",)),
        Layer("conv", "CaskConvolution", ("fp16", "int32")),
        Layer("_gemm_mha_v2_myl3_7", "kgen", ()),
        Layer("wait", "Signal", ()),
    )


def test_layers_that_are_not_told_are_a_warning_and_no_failure(log):
    real = layers_of_log(log.layers)
    assert builder._layers(log, None) == (real, "log", [])
    unread = BuildLog.__new__(BuildLog)
    unread.layers = "Layers:\nName: x, Kind: gemm"
    layers, layers_from, doubts = builder._layers(unread, None)
    assert (layers, layers_from) == ((), "log")
    assert len(doubts) == 1 and "words that are not known" in doubts[0] and "Kind" in doubts[0]
    # The inspector knows them; and where it does not, the log does.
    facts = EngineFacts(json.dumps(INSPECTED), 0)
    assert builder._layers(unread, facts)[:2] == (layers_of_inspector(facts.layers), "inspector")
    layers, layers_from, doubts = builder._layers(log, EngineFacts("[]", 0))
    assert (layers, layers_from, len(doubts)) == (real, "log", 1)
    unread.layers = ""
    assert builder._layers(unread, None) == ((), "log", ["TensorRT tells nothing of layers"])


# The two forms of an output that NVIDIA documents, of TensorRT 10 and of TensorRT-RTX.
INSPECTED = {
    "Layers": [
        {
            "Name": "_gemm_mha_v2_myl0_10",
            "LayerType": "kgen",
            "Inputs": [{"Name": "a", "Format/Datatype": "Half"}],
            "Outputs": [{"Name": "b", "Dimensions": [1, 4], "Format/Datatype": "Half"}],
        },
        {
            "Name": "Reformatting CopyNode for Output Tensor 0",
            "LayerType": "Reformat",
            "Outputs": [{"Name": "c", "Format/Datatype": "Row major linear FP32 format"}],
        },
        {
            "Name": "two",
            "LayerType": "kgen",
            "Outputs": [
                {"Name": "d", "Datatype": "BFloat16", "Format": "(Linear) Row major linear format"},
                {"Name": "e", "Datatype": "Int8", "Format": "(Linear) Row major linear format"},
            ],
        },
        {"Name": "shapes", "LayerType": "shape_call", "Outputs": []},
    ],
    "Bindings": ["x", "y"],
}


def test_the_inspector_gives_the_same_fields():
    assert layers_of_inspector(json.dumps(INSPECTED)) == (
        Layer("_gemm_mha_v2_myl0_10", "kgen", ("fp16",)),
        Layer("Reformatting CopyNode for Output Tensor 0", "Reformat", ("fp32",)),
        Layer("two", "kgen", ("bf16", "int8")),
        Layer("shapes", "shape_call", ()),
    )
    assert layers_of_inspector(json.dumps(INSPECTED))[0].is_attention


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"Layers": ["a"]}', '{"Layers": [{}]}'])
def test_what_the_inspector_does_not_say(text):
    with pytest.raises(UnknownWordsError, match="inspector"):
        layers_of_inspector(text)
