"""Wrong graphs are found: each change of the small model's files fails, by each runtime."""

from __future__ import annotations

import pathlib
import re
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the package onnx")
pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")

from tokenfuse_export.reference import load_reference  # noqa: E402
from tokenfuse_export.verify import Reference, golden_inputs, verify_graphs  # noqa: E402

Edit = Callable[[Any], None]


def initializer(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Edit:
    """Change a constant of the graph."""

    def edit(graph: Any) -> None:
        (found,) = (one for one in graph.initializer if one.name == name)
        array = onnx.numpy_helper.to_array(found)
        found.CopyFrom(onnx.numpy_helper.from_array(change(array.copy()), name))

    return edit


def node(output: str, change: Edit) -> Edit:
    """Change the node that gives an output."""

    def edit(graph: Any) -> None:
        (found,) = (one for one in graph.node if output in one.output)
        change(found)

    return edit


def one_weight_off(graph: Any) -> None:
    """The largest weight of the last linear, by 2%."""
    logits = next(one for one in graph.node if "logits_BAV" in one.output)

    def change(weight: np.ndarray) -> np.ndarray:
        weight.flat[np.abs(weight).argmax()] *= 1.02
        return weight

    initializer(logits.input[1], change)(graph)


def swap_outputs(one: str, other: str) -> Edit:
    names = {one: other, other: one}

    def edit(graph: Any) -> None:
        for found in graph.node:
            for names_of in (found.input, found.output):
                names_of[:] = [names.get(name, name) for name in names_of]

    return edit


def no_padding_mask(graph: Any) -> None:
    (mask,) = (one for one in graph.node if one.op_type == "Where")
    mask.input[2] = mask.input[1]


def no_look_ahead_mask(table: np.ndarray) -> np.ndarray:
    return np.where(table < -1e30, 0, table).astype(table.dtype)


def known_behind_new(graph: Any) -> None:
    for part in ("key", "value"):
        change = node(f"present.0.decoder.{part}", lambda n: n.input.extend([n.input.pop(0)]))
        change(graph)


def budget_built_in(graph: Any) -> None:
    """All latents of the text, whatever the number of image tokens."""
    (first,) = (one for one in graph.node if "resampler.query_1ND" in one.input)
    assert first.op_type == "Slice"
    first.op_type = "Identity"
    del first.input[1:]


def not_finite(array: np.ndarray) -> np.ndarray:
    array.flat[0] = np.inf
    return array


MUTANTS: dict[str, tuple[str, Edit, str]] = {
    "one weight": ("decoder", one_weight_off, "logits at budget"),
    "a bias of the image": (
        "image_encoder",
        initializer("vision.norm.bias", lambda a: a + 0.01),
        "image_tokens at budget",
    ),
    "biases of text positions": (
        "text_fusion",
        initializer("bias_1HLL", lambda a: -a),
        "fused_tokens at budget",
    ),
    "latents in another order": (
        "text_fusion",
        initializer("resampler.query_1ND", lambda a: a[:, ::-1].copy()),
        "fused_tokens at budget",
    ),
    "key for value": (
        "text_fusion",
        swap_outputs("present.0.encoder.key", "present.0.encoder.value"),
        "logits at budget",
    ),
    "no padding mask": ("text_fusion", no_padding_mask, "fused_tokens at budget"),
    "no mask of what comes": (
        "decoder",
        initializer("bias_1HAA", no_look_ahead_mask),
        "logits at budget",
    ),
    "a cache in the wrong order": ("decoder", known_behind_new, "the cache at budget"),
    "a budget built in": ("text_fusion", budget_built_in, "text_fusion.onnx|its config says"),
    "infinity": ("decoder", initializer("bias_1HAA", not_finite), "NaN or infinity"),
}


@pytest.fixture(scope="module")
def verified(_bundle_once):
    """Of a folder and a precision."""
    model = load_reference(_bundle_once)
    inputs = golden_inputs(model, count=3)
    reference = Reference(model, inputs)
    return lambda folder, precision: verify_graphs(
        model, inputs, folder, precision, reference=reference
    )


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_graphs_as_they_are_pass(exported_small, verified, precision):
    found = verified(exported_small / "onnx" / precision, precision)
    assert found.passed, found.faults
    ran = {row.runtime for row in found.rows if row.passed}
    assert "onnxruntime" in ran


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_graph_fails(exported_small, tmp_path, verified, name):
    graph, edit, fault = MUTANTS[name]
    folder = pathlib.Path(shutil.copytree(exported_small / "onnx/fp32", tmp_path / "fp32"))
    proto = onnx.load(folder / f"{graph}.onnx")
    edit(proto.graph)
    onnx.save(proto, folder / f"{graph}.onnx")
    found = verified(folder, "fp32")
    assert not found.passed
    ran = [row for row in found.rows if row.passed is not None]
    assert ran
    for row in ran:
        assert row.passed is False, row
        faults = row.comparison.faults if row.comparison else [row.reason]
        assert re.search(fault, " ".join(faults)), row


def test_the_masks_and_the_cache_are_needed_in_16_bits_too(exported_small, tmp_path, verified):
    folder = pathlib.Path(shutil.copytree(exported_small / "onnx/fp16", tmp_path / "fp16"))
    for graph, edit in (("text_fusion", no_padding_mask), ("decoder", known_behind_new)):
        whole = (folder / f"{graph}.onnx").read_bytes()
        proto = onnx.load_from_string(whole)
        edit(proto.graph)
        onnx.save(proto, folder / f"{graph}.onnx")
        assert not verified(folder, "fp16").passed, graph
        (folder / f"{graph}.onnx").write_bytes(whole)


def test_a_file_that_is_no_graph_fails(exported_small, tmp_path, verified):
    """And is not taken for a runtime that is not there."""
    folder = pathlib.Path(shutil.copytree(exported_small / "onnx/fp32", tmp_path / "fp32"))
    (folder / "decoder.onnx").write_bytes(b"none")
    found = verified(folder, "fp32")
    assert not found.passed
    assert "decoder.onnx" in " ".join(found.faults)
