"""Any kind of integer is taken, and kept as an int; nothing else passes for one."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import ConfigError, OpError, TokenBudgetError
from tokenfuse_sdk.flops import count_flops
from tokenfuse_sdk.integers import as_integer, integer_in
from tokenfuse_sdk.ops import conv2d, linear
from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_sdk.sizes import named_config


class OwnInteger:
    def __index__(self) -> int:
        return 4


INTEGERS = [4, np.int64(4), np.uint8(4), np.array(4), OwnInteger()]
NONE = [4.0, "4", b"4", None, True, np.True_, np.array(True), np.float32(4), np.array([4]), [4]]


@pytest.mark.parametrize("value", INTEGERS, ids=repr)
def test_integers(value):
    assert type(as_integer(value)) is int
    assert (as_integer(value), integer_in(value, 4, 4)) == (4, 4)
    assert integer_in(value, 5, 9) is integer_in(value, 0, 3) is None


@pytest.mark.parametrize("value", NONE, ids=repr)
def test_what_is_no_integer(value):
    assert as_integer(value) is integer_in(value, 0, 9) is None


def test_a_truth_value_of_torch_is_no_integer():
    torch = pytest.importorskip("torch")
    assert as_integer(torch.tensor(4)) == 4
    assert as_integer(torch.tensor(True)) is None


def with_numpy(config):
    """The same config, each integer of it as NumPy's."""

    def changed(value):
        if isinstance(value, tuple):
            return tuple(map(changed, value))
        return np.int64(value) if type(value) is int else value

    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return type(config)(**{name: changed(value) for name, value in fields.items()})


def test_a_config_keeps_ints():
    config = named_config("nano")
    parts = {name: with_numpy(getattr(config, name)) for name in ("vision", "text", "decoder")}
    other = ModelConfig(name=config.name, fusion=with_numpy(config.fusion), **parts)
    assert other == config
    assert json.dumps(other.to_dict()) == json.dumps(config.to_dict())
    pictures = PreprocessConfig(image_size=np.int64(64))
    assert json.dumps(pictures.to_dict()) == json.dumps(PreprocessConfig(image_size=64).to_dict())


@pytest.mark.parametrize("value", NONE, ids=repr)
def test_a_config_refuses_the_rest(value):
    with pytest.raises(ConfigError, match=r"vision\.num_layers=.*need an integer from 0"):
        dataclasses.replace(named_config("nano").vision, num_layers=value)
    with pytest.raises(ConfigError, match=r"preprocess\.image_size=.*from 1 to 4096"):
        PreprocessConfig(image_size=value)


def test_counts_of_operations():
    four = np.int64(4)
    counts = {"num_text_tokens": 4, "num_answer_tokens": 4, "token_budget": 4}
    config = named_config("nano")
    want = count_flops(config, **counts)
    got = count_flops(config, **dict.fromkeys(counts, four))
    assert json.dumps(got.to_dict()) == json.dumps(want.to_dict())
    for value in (True, 4.0, "4", np.array([4])):
        with pytest.raises(TokenBudgetError, match=r"\[4, 8, 16\]"):
            count_flops(config, token_budget=value)


def test_options_of_ops():
    x, weight = np.ones((6, 6, 1), np.float32), np.ones((1, 1, 2, 2), np.float32)
    two, one = np.int64(2), np.int64(1)
    want = conv2d(x, weight, stride=2, padding=1)
    np.testing.assert_array_equal(conv2d(x, weight, stride=two, padding=one, num_threads=one), want)
    np.testing.assert_array_equal(linear(x[0], weight[0, 0, :1, :1], num_threads=one), x[0])
    for value in (2.0, "2", True, None):
        with pytest.raises(OpError, match="need integers"):
            conv2d(x, weight, stride=value)
        with pytest.raises(OpError, match=r"num_threads=.*need an integer from 1 to 1024"):
            linear(x[0], weight[0, 0, :1, :1], num_threads=value)
