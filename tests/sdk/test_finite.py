"""Finite or not, told from bits: as NumPy tells it from values."""

from __future__ import annotations

import numpy as np
import pytest

from tokenfuse_sdk.bundle.safetensors_file import all_finite


def test_every_half_float():
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    for half in halves:
        assert all_finite(half.reshape(())) == bool(np.isfinite(half)), half
    assert all_finite(halves[np.isfinite(halves)])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_one_among_many(dtype, sign):
    largest = np.finfo(dtype).max
    for value, finite in ((np.inf, False), (np.nan, False), (largest, True), (0.0, True)):
        for place in (0, 1, 500, 1022):
            array = np.ones(1023, dtype)
            array[place] = np.copysign(value, sign)
            assert all_finite(array) is finite, (value, place)
            assert all_finite(array.reshape(3, 11, 31)) is finite


def test_float32_at_the_ends_of_its_exponents():
    for bits in (0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF):
        for sign in (0, 1 << 31):
            value = np.array([bits | sign], np.uint32).view(np.float32)
            assert all_finite(value) == bool(np.isfinite(value[0])), hex(bits | sign)


def test_empty_and_at_any_byte():
    assert all_finite(np.zeros((0, 3), np.float32))
    data = bytes(1) + np.array([1.0, np.nan], np.float32).tobytes()
    assert not all_finite(np.frombuffer(data, np.float32, offset=1))
    assert all_finite(np.frombuffer(data, np.float32, count=1, offset=1))
