"""memory_report against sums of tensors, and a process's peak memory against memory_report."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tokenfuse_sdk import _native
from tokenfuse_sdk.bundle import read_bundle, write_bundle
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.sizes import named_config
from tokenfuse_sdk.weights import expected_tensors

# Whole panels of every instruction set: 8, 16, 32 and 48 outputs.
_PANELS = 96


def _with_vocabulary(size: int) -> ModelConfig:
    nano = named_config("nano")
    return dataclasses.replace(nano, text=dataclasses.replace(nano.text, vocab_size=size))


def _report(config: ModelConfig, dtype: str, precision: str, isa: str) -> dict[str, int]:
    weights = {name: np.zeros(shape, dtype) for name, shape in expected_tensors(config).items()}
    engine = _native.CpuEngine(
        config.to_dict(), weights, num_threads=1, isa=isa, precision=precision
    )
    return engine.memory_report()


@pytest.mark.parametrize("isa", _native.available_isas())
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_words_take_what_their_tensors_take(precision, dtype, isa):
    """A row of the embedding as the file has it, one of lm_head as packed, one of each logits."""
    # Enough words for the question to take more of the workspace that it shares with the picture.
    small, large = (_with_vocabulary(_PANELS * count) for count in (100, 103))
    before, after = (_report(config, dtype, precision, isa) for config in (small, large))
    width, words = small.text.width, 3 * _PANELS
    packed = {"fp32": 4 * width, "bf16": 2 * width, "int8": width + 4}[precision]
    of_weights = words * (np.dtype(dtype).itemsize * width + packed)
    assert after["weights_bytes"] - before["weights_bytes"] == of_weights
    of_workspace = words * 4 * small.decoder.max_tokens
    assert after["workspace_bytes"] - before["workspace_bytes"] == of_workspace


_LOAD = """
import json, sys
import tokenfuse_sdk as tf
import tokenfuse_sdk._native

def kilobytes(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))

tf.load
before = kilobytes("VmRSS")
model = tf.load(sys.argv[1], device="cpu", precision=sys.argv[2], num_threads=2)
grown = 1024 * (kilobytes("VmHWM") - before)
print(json.dumps({"grown": grown, "weights": model.memory_report()["weights_bytes"]}))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory, bundle_parts) -> pathlib.Path:
    """A bundle of more than 48 MiB, in the folder `large`."""
    nano = bundle_parts["config"]
    config = dataclasses.replace(
        nano, text=dataclasses.replace(nano.text, width=256, num_layers=4, mlp_dim=8192)
    )
    rng = np.random.default_rng(0)
    weights = {
        name: (0.1 * rng.standard_normal(shape, dtype=np.float32)).astype(np.float16)
        if shape
        else np.zeros(shape, np.float16)
        for name, shape in expected_tensors(config).items()
    }
    folder = tmp_path_factory.mktemp("memory") / "large"
    write_bundle(folder, **{**bundle_parts, "config": config, "weights": weights})
    assert (folder / "model.safetensors").stat().st_size > 48 << 20
    return folder


@pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_loading_takes_the_packed_weights_and_a_window(large, precision):
    """Neither the file nor a float32 copy of a large tensor is held beside them."""
    # Not from the sources' folder, which has no compiled module.
    command = [sys.executable, "-c", _LOAD, "large", precision]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=large.parent)
    got = json.loads(run.stdout)
    assert got["weights"] < got["grown"] < got["weights"] + (16 << 20)


def test_a_bundle_that_was_read_holds_none_of_its_weights(large, resident_bytes):
    path = large / "model.safetensors"
    bundle = read_bundle(large)
    assert resident_bytes(path) == 0
    # And the measure sees what is there.
    bundle.weights_file.data.tobytes()
    assert resident_bytes(path) >= path.stat().st_size
