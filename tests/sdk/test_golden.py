"""The golden check passes what is right, and nothing else."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from tokenfuse_sdk.bundle import read_bundle
from tokenfuse_sdk.errors import BundleFormatError
from tokenfuse_sdk.golden import GOLDEN_BOUND, golden_error
from tokenfuse_sdk.runtime import open_runtime, place
from tokenfuse_sdk.shipped import find_bundle


@pytest.fixture(scope="module")
def shipped():
    return read_bundle(find_bundle("scenes-nano"))


@pytest.fixture(scope="module")
def runtime(shipped):
    return open_runtime(shipped.config, shipped.weights, place("cpu", "fp32"))


class Damaged:
    """A runtime whose logits pass through `damage`."""

    def __init__(self, runtime, damage) -> None:
        self._runtime, self._damage = runtime, damage

    def encode_image(self, image_HW3, token_budget):
        return self._runtime.encode_image(image_HW3, token_budget)

    def logits(self, f_ND, text_ids, answer_ids):
        return self._damage(self._runtime.logits(f_ND, text_ids, answer_ids).copy())


def test_the_engine_passes(shipped, runtime):
    assert 0.0 < golden_error(shipped, runtime) < GOLDEN_BOUND


def test_a_wrong_logit_shows(shipped, runtime):
    def damage(logits_AV):
        logits_AV[-1, 7] += 0.01 * np.sqrt(np.mean(logits_AV[-1] ** 2))
        return logits_AV

    error = golden_error(shipped, Damaged(runtime, damage))
    assert error == pytest.approx(0.01, rel=0.1)
    assert error > GOLDEN_BOUND


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_infinitely_wrong(shipped, runtime, value):
    def damage(logits_AV):
        logits_AV[0, 3] = value
        return logits_AV

    assert golden_error(shipped, Damaged(runtime, damage)) == math.inf


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("image_u8", lambda a: a[:0]),
        ("image_u8", lambda a: a.astype(np.float32)),
        ("image_u8", lambda a: a[..., 0]),
        ("text_ids", lambda a: a[:1]),
        ("text_ids", lambda a: np.zeros_like(a)),
        ("text_ids", lambda a: np.where(a, 30_000, 0)),
        ("answer_ids", lambda a: -a),
        ("answer_ids", lambda a: np.ones((len(a), 99), a.dtype)),
        ("logits", lambda a: a[..., 1:]),
        ("logits", lambda a: np.zeros_like(a)),
    ],
)
def test_golden_inputs_that_no_model_takes_are_refused(shipped, runtime, name, change):
    golden = dict(shipped.golden)
    golden[name] = change(golden[name])
    with pytest.raises(BundleFormatError, match=r"golden\.safetensors"):
        golden_error(dataclasses.replace(shipped, golden=golden), runtime)


def test_missing_and_empty_golden_inputs_are_refused(shipped, runtime):
    golden = {name: array for name, array in shipped.golden.items() if name != "logits"}
    with pytest.raises(BundleFormatError, match="lacks logits"):
        golden_error(dataclasses.replace(shipped, golden=golden), runtime)
    golden = {name: array[:0] for name, array in shipped.golden.items()}
    with pytest.raises(BundleFormatError, match="one input or more"):
        golden_error(dataclasses.replace(shipped, golden=golden), runtime)
