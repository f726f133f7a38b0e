"""What the tests share lies beside them: pictures, and an emulated GPU."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest

from tokenfuse_sdk.bundle import read_bundle
from tokenfuse_sdk.graphs import GRAPHS

HERE = str(pathlib.Path(__file__).parent)
if HERE not in sys.path:
    sys.path.append(HERE)


@pytest.fixture(scope="session")
def small_exported(exported_small):
    """The small random bundle with its graphs, read."""
    return read_bundle(exported_small)


@pytest.fixture(scope="session")
def _serialised(small_exported):
    from emulated_device import serialised_engine

    return {graph: serialised_engine(small_exported, graph) for graph in GRAPHS}


@pytest.fixture
def serialised(_serialised):
    """Graph to its emulated engine."""
    return dict(_serialised)


@pytest.fixture
def device(small_exported, serialised):
    """An emulated GPU that runs the small bundle's graphs."""
    from emulated_device import EmulatedDevice

    return EmulatedDevice(small_exported, serialised)


@pytest.fixture
def inputs(small_exported):
    """Pictures, questions of several lengths, answers."""
    rng = np.random.default_rng(11)
    config = small_exported.config
    side, vocab = config.vision.image_size, config.text.vocab_size
    images_BHW3 = rng.uniform(-1, 1, (3, side, side, 3)).astype(np.float32)
    texts = [rng.integers(2, vocab, count, dtype=np.int32) for count in (3, 16, 40)]
    answers = [rng.integers(2, vocab, count, dtype=np.int32) for count in (1, 5, 32)]
    return images_BHW3, texts, answers


@pytest.fixture
def no_driver():
    """`cuda.bindings.runtime`, the real one, on a machine without a driver."""
    module = pytest.importorskip("cuda.bindings.runtime", reason="needs the package cuda-bindings")
    if module.cudaDriverGetVersion()[1]:
        pytest.skip("needs a machine without an NVIDIA driver: tests/gpu are for the others")
    return module
