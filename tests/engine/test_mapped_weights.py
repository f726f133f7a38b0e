"""An engine gives the pages of mapped weights back, and of nothing else."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from tokenfuse_sdk import _native
from tokenfuse_sdk.bundle import Bundle, read_bundle
from tokenfuse_sdk.shipped import find_bundle


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return read_bundle(find_bundle("scenes-nano"))


def in_memory(bundle: Bundle, access: int, tmp_path) -> dict[str, np.ndarray]:
    """The weights through read-only views of a mapping of the given kind."""
    size = sum(array.nbytes for array in bundle.weights.values())
    path = tmp_path / "zeros"
    path.write_bytes(bytes(size))
    with path.open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), size, access=access)
    at, views = 0, {}
    for name, array in bundle.weights.items():
        mapping[at : at + array.nbytes] = array.tobytes()
        seen = memoryview(mapping).toreadonly()[at : at + array.nbytes]
        views[name] = np.frombuffer(seen, array.dtype).reshape(array.shape)
        at += array.nbytes
    return views


def test_pages_that_no_file_has_stay(bundle, tmp_path):
    # A copy on write: what was written is in these pages alone.
    weights = in_memory(bundle, mmap.ACCESS_COPY, tmp_path)
    _native.CpuEngine(bundle.config.to_dict(), weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(array, bundle.weights[name], err_msg=name)


def test_every_kind_of_memory_gives_the_same_answer(bundle, tmp_path):
    config = bundle.config
    image = np.full((config.vision.image_size,) * 2 + (3,), 0.25, np.float32)
    kinds = [
        bundle.weights,
        {name: array.copy() for name, array in bundle.weights.items()},
        in_memory(bundle, mmap.ACCESS_COPY, tmp_path),
        in_memory(bundle, mmap.ACCESS_WRITE, tmp_path),
    ]
    first, *others = (
        _native.CpuEngine(config.to_dict(), dict(weights)).encode_image(image, 16)
        for weights in kinds
    )
    for other in others:
        np.testing.assert_array_equal(other, first)
