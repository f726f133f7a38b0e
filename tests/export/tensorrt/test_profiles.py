"""Profiles: which shapes each takes; a graph that is none of ours; the timing cache."""

from __future__ import annotations

import dataclasses
import os
import pathlib

import pytest

from tokenfuse_export.errors import EngineBuildError
from tokenfuse_export.tensorrt.builder import BuiltEngine, build_engine
from tokenfuse_export.tensorrt.flavours import TensorRT
from tokenfuse_export.tensorrt.profiles import free_sizes, profiles_of
from tokenfuse_export.tensorrt.targets import Target
from tokenfuse_export.tensorrt.timing_cache import read_timings, write_timings
from tokenfuse_sdk.bundle import read_bundle
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import OutputPathError

SM_86 = Target("sm_86", "SM86")


def test_which_profiles_there_are(bundle_parts):
    config = bundle_parts["config"]
    made = {
        graph: [
            (profile.kind, profile.batch, profile.budget)
            for profile in profiles_of(config, graph, batches=(1, 8), budgets=(2, 4))
        ]
        for graph in ("image_encoder", "text_fusion", "decoder")
    }
    assert made == {
        "image_encoder": [("encode", 1, 8), ("encode", 8, 8)],
        "text_fusion": [("fuse", 1, 2), ("fuse", 1, 4), ("fuse", 8, 2), ("fuse", 8, 4)],
        "decoder": [
            (kind, batch, budget)
            for batch in (1, 8)
            for budget in (2, 4)
            for kind in ("step", "score")
        ],
    }


def test_which_sizes_they_take(bundle_parts):
    """The model of the tests: 64 text tokens, 32 answer tokens, 1 decoder layer."""
    config = bundle_parts["config"]
    one, three = (1, 1, 1), (3, 3, 3)

    def sizes(graph: str, index: int) -> dict:
        return free_sizes(config, profiles_of(config, graph, batches=(3,), budgets=(4,))[index])

    assert sizes("image_encoder", 0) == {"image_BHW3": {0: three}}
    assert sizes("text_fusion", 0) == {
        "f_BND": {0: three, 1: (4, 4, 4)},
        "text_BL": {0: three, 1: (16, 16, 64)},
    }
    encoder = {
        f"past_key_values.0.encoder.{part}": {0: three, 2: (4, 4, 4)} for part in ("key", "value")
    }
    for index, new, past in ((0, one, (0, 8, 31)), (1, (1, 8, 32), (0, 0, 0))):
        known = {
            f"past_key_values.0.decoder.{part}": {0: three, 2: past} for part in ("key", "value")
        }
        assert sizes("decoder", index) == {"answer_BA": {0: three, 1: new}} | known | encoder


def test_the_shortest_answers_have_profiles(bundle_parts):
    config = bundle_parts["config"]
    for most in (1, 2):
        decoder = dataclasses.replace(config.decoder, max_tokens=most)
        short = dataclasses.replace(config, decoder=decoder)
        for profile in profiles_of(short, "decoder", batches=(1,), budgets=(1,)):
            for axes in free_sizes(short, profile).values():
                for least, common, largest in axes.values():
                    assert 0 <= least <= common <= largest <= most


def _build(
    trt: TensorRT,
    path: pathlib.Path,
    config: ModelConfig,
    graph: str,
    *,
    target: Target = SM_86,
    timings: bytes | None = None,
) -> BuiltEngine:
    return build_engine(
        trt,
        path,
        config=config,
        profiles=profiles_of(config, graph, batches=(1,), budgets=(8,)),
        target=target,
        timings=timings,
        report=lambda share, what: None,
    )


def test_graphs_of_another_model_are_refused(trt, built, tmp_path):
    config = read_bundle(built.path).config
    encoder = built.path / "onnx/fp16/image_encoder.onnx"
    with pytest.raises(EngineBuildError, match=r"inputs image_BHW3; need f_BND, text_BL"):
        _build(trt, encoder, config, "text_fusion")
    rubbish = tmp_path / "image_encoder.onnx"
    rubbish.write_bytes(b"rubbish")
    with pytest.raises(EngineBuildError, match=r"cannot read image_encoder\.onnx: .*ONNX"):
        _build(trt, rubbish, config, "image_encoder")


def test_what_tensorrt_refuses_is_told_in_its_words(trt, bundle_parts, tmp_path):
    """A product of bfloat16, which the kernels of sm_75 have not."""
    onnx = pytest.importorskip("onnx", reason="needs the package onnx")
    from onnx import TensorProto, helper

    side = bundle_parts["config"].vision.image_size
    shape = ["B", side, side, 3]
    weights = helper.make_tensor("w", TensorProto.BFLOAT16, [3, 16], [1.0] * 48)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image_BHW3"], ["x"], to=TensorProto.BFLOAT16),
            helper.make_node("MatMul", ["x", "w"], ["y"]),
            helper.make_node("Cast", ["y"], ["f_BND"], to=TensorProto.FLOAT),
        ],
        "image_encoder",
        [helper.make_tensor_value_info("image_BHW3", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("f_BND", TensorProto.FLOAT, [*shape[:3], 16])],
        [weights],
    )
    path = tmp_path / "image_encoder.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    config = bundle_parts["config"]
    assert _build(trt, path, config, "image_encoder").plan is not None
    with pytest.raises(EngineBuildError, match=r"image_encoder\.onnx for sm_75: .*b16"):
        _build(trt, path, config, "image_encoder", target=Target("sm_75", "SM75"))


# TensorRT-RTX has the functions of a timing cache, which do nothing, and says so.
@pytest.mark.filterwarnings("ignore:.*iming cache")
def test_a_timing_cache_is_read_and_written(trt, built, tmp_path):
    """What TensorRT's flavour does, by the functions that both have."""
    flavour = dataclasses.replace(trt.flavour, has_timing_cache=True)
    timed = dataclasses.replace(trt, flavour=flavour)
    path = tmp_path / "cache.bin"
    assert read_timings(timed, path) == b""
    config = read_bundle(built.path).config
    encoder = built.path / "onnx/fp16/image_encoder.onnx"
    done = _build(timed, encoder, config, "image_encoder", timings=b"")
    assert done.timings
    write_timings(path, done.timings)
    assert read_timings(timed, path) == done.timings
    assert _build(timed, encoder, config, "image_encoder", timings=done.timings).timings
    for wrong in (tmp_path, tmp_path / "none" / "cache.bin"):
        with pytest.raises(OutputPathError, match="--timing-cache"):
            read_timings(timed, wrong)
    with pytest.raises(EngineBuildError, match="leave --timing-cache out"):
        read_timings(trt, path)


def test_a_timing_cache_is_a_plain_file_of_some_size(trt, tmp_path):
    flavour = dataclasses.replace(trt.flavour, has_timing_cache=True)
    timed = dataclasses.replace(trt, flavour=flavour)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", pathlib.Path("/dev/zero")):
        with pytest.raises((EngineBuildError, OutputPathError), match="--timing-cache"):
            read_timings(timed, path)
    with (tmp_path / "large").open("wb") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(EngineBuildError, match=r"large has 1073741825 bytes; .*--timing-cache"):
        read_timings(timed, tmp_path / "large")
