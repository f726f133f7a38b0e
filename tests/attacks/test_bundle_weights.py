"""Hostile and damaged files of tensors: refused with their own error, before memory is taken."""

from __future__ import annotations

import json
import struct
import tracemalloc

import numpy as np
import pytest
from damage import GOLDEN, WEIGHTS, change, change_header, change_weights
from safetensors.numpy import save

from tokenfuse_sdk import errors
from tokenfuse_sdk.bundle import read_bundle


def test_truncated_in_the_data(bundle):
    change(bundle, WEIGHTS, (bundle / WEIGHTS).read_bytes()[:-10])
    with pytest.raises(errors.TensorHeaderError, match="bytes of data"):
        read_bundle(bundle)


@pytest.mark.parametrize("keep", [0, 5, 8, 200])
def test_a_weights_file_too_small_for_the_config(bundle, keep):
    change(bundle, WEIGHTS, (bundle / WEIGHTS).read_bytes()[:keep])
    with pytest.raises(errors.TensorMismatchError):
        read_bundle(bundle)


@pytest.mark.parametrize("keep", [0, 5, 8, 50])
def test_truncated_in_the_header(bundle, keep):
    change(bundle, GOLDEN, (bundle / GOLDEN).read_bytes()[:keep])
    with pytest.raises(errors.TensorHeaderError, match=r"truncated|not JSON"):
        read_bundle(bundle)


def test_a_header_that_ends_behind_the_file(bundle):
    data = (bundle / WEIGHTS).read_bytes()
    assert len(data) < 2 << 20
    change(bundle, WEIGHTS, struct.pack("<Q", len(data) - 7) + data[8:])
    with pytest.raises(errors.TensorHeaderError, match="truncated"):
        read_bundle(bundle)


def test_bytes_behind_the_last_tensor(bundle):
    change(bundle, WEIGHTS, (bundle / WEIGHTS).read_bytes() + b"\0" * 64)
    with pytest.raises(errors.TensorHeaderError, match="bytes of data"):
        read_bundle(bundle)


@pytest.mark.parametrize("length", [(2 << 20) + 1, 1 << 40, (1 << 64) - 1])
def test_a_header_over_its_cap_takes_no_memory(bundle, length):
    data = (bundle / WEIGHTS).read_bytes()
    change(bundle, WEIGHTS, struct.pack("<Q", length) + data[8:])
    tracemalloc.start()
    with pytest.raises(errors.TensorHeaderError, match="at most"):
        read_bundle(bundle)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def _offsets(header: dict, index: int) -> list[int]:
    names = sorted(
        (n for n in header if n != "__metadata__"), key=lambda n: header[n]["data_offsets"]
    )
    return header[names[index]]["data_offsets"]


def test_overlapping_tensors(bundle):
    def edit(header):
        first, second = _offsets(header, 0), _offsets(header, 1)
        second[:] = [first[0], first[0] + second[1] - second[0]]

    change_header(bundle, edit)
    with pytest.raises(errors.TensorHeaderError, match=r"overlaps|gap"):
        read_bundle(bundle)


def test_offsets_past_the_end(bundle):
    def edit(header):
        last = _offsets(header, -1)
        last[:] = [last[0] + (1 << 40), last[1] + (1 << 40)]

    change_header(bundle, edit)
    with pytest.raises(errors.TensorHeaderError, match="gap"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    "offsets", [[-2, 0], [10, 4], [0.0, 2.0], ["0", "2"], [True, 2], [0, 1 << 60], [0], "ab", None]
)
def test_offsets_that_are_none(bundle, offsets):
    def edit(header):
        header["vision.norm.weight"]["data_offsets"] = offsets

    change_header(bundle, edit)
    with pytest.raises(errors.TensorHeaderError):
        read_bundle(bundle)


@pytest.mark.parametrize("shape", [[-32], [1 << 50, 1 << 50], [32.0], [True], "x", [1] * 9])
def test_shapes_that_are_none(bundle, shape):
    def edit(header):
        header["vision.norm.weight"]["shape"] = shape

    change_header(bundle, edit)
    with pytest.raises(errors.TensorHeaderError):
        read_bundle(bundle)


def test_a_shape_that_its_bytes_do_not_hold(bundle):
    def edit(header):
        header["vision.norm.weight"]["shape"] = [1 << 20]

    change_header(bundle, edit)
    with pytest.raises(errors.TensorHeaderError, match="needs"):
        read_bundle(bundle)


@pytest.mark.parametrize("dtype", ["F64", "BF16", "F8_E4M3", "pickle", 7])
def test_dtypes_that_are_not_read(bundle, dtype):
    def edit(header):
        header["vision.norm.weight"]["dtype"] = dtype

    change_header(bundle, edit)
    with pytest.raises(errors.TensorHeaderError, match="dtype"):
        read_bundle(bundle)


def test_more_keys_in_an_entry(bundle):
    change_header(bundle, lambda h: h["vision.norm.weight"].update(code="x"))
    with pytest.raises(errors.TensorHeaderError, match="exactly"):
        read_bundle(bundle)


def test_metadata_that_is_not_text(bundle):
    change_header(bundle, lambda h: h.update(__metadata__={"a": 1}))
    with pytest.raises(errors.TensorHeaderError, match="__metadata__"):
        read_bundle(bundle)


def test_too_many_tensors(bundle):
    def edit(header):
        for index in range(20_000):
            header[f"x{index}"] = {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]}

    change_header(bundle, edit)
    with pytest.raises(errors.TensorHeaderError, match="at most"):
        read_bundle(bundle)


def test_a_deeply_nested_header(bundle):
    text = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    change(bundle, WEIGHTS, struct.pack("<Q", len(text)) + text + b"\0" * 200_000)
    with pytest.raises(errors.TensorHeaderError, match="deeper"):
        read_bundle(bundle)


def test_a_key_twice_in_the_header(bundle):
    text = b'{"a": {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]}, "a": {}}'
    change(bundle, WEIGHTS, struct.pack("<Q", len(text)) + text + b"\0" * 200_000)
    with pytest.raises(errors.TensorHeaderError, match="twice"):
        read_bundle(bundle)


def test_another_shape_than_the_config(bundle):
    change_weights(bundle, lambda w: w.update({"vision.norm.weight": np.zeros(31, np.float16)}))
    with pytest.raises(errors.TensorMismatchError, match="shape"):
        read_bundle(bundle)


def test_another_dtype_than_weights_have(bundle):
    change_weights(bundle, lambda w: w.update({"vision.norm.weight": np.zeros(32, np.int32)}))
    with pytest.raises(errors.TensorMismatchError, match="dtype"):
        read_bundle(bundle)


def test_mixed_dtypes(bundle):
    change_weights(bundle, lambda w: w.update({"vision.norm.weight": np.zeros(32, np.float32)}))
    with pytest.raises(errors.TensorMismatchError, match="mixes"):
        read_bundle(bundle)


def test_a_missing_and_an_unknown_tensor(bundle):
    change_weights(bundle, lambda w: w.update(evil=w.pop("vision.norm.weight")))
    with pytest.raises(errors.TensorMismatchError, match=r"lacks .*unknown 'evil'"):
        read_bundle(bundle)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(bundle, value):
    def edit(arrays):
        array = arrays["decoder.lm_head.weight"].copy()
        array.flat[-1] = value
        arrays["decoder.lm_head.weight"] = array

    change_weights(bundle, edit)
    with pytest.raises(errors.TensorDataError, match=r"decoder\.lm_head\.weight"):
        read_bundle(bundle)


def test_golden_values_that_are_not_finite(bundle):
    change(bundle, GOLDEN, save({"logits": np.array([1.0, np.nan], np.float32)}))
    with pytest.raises(errors.TensorDataError, match="logits"):
        read_bundle(bundle)


def test_an_empty_tensor_of_a_shape_that_no_memory_holds(bundle):
    """NumPy refuses 0 x 2^47 x 2^47, though it has no element."""
    header = {"image_u8": {"dtype": "U8", "shape": [0, 1 << 47, 1 << 47], "data_offsets": [0, 0]}}
    text = json.dumps(header).encode()
    change(bundle, GOLDEN, struct.pack("<Q", len(text)) + text)
    with pytest.raises(errors.TensorHeaderError, match="larger than any file"):
        read_bundle(bundle)
