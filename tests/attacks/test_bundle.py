"""Hostile bundles: what their JSON, tokenizer and card say is refused where it is wrong."""

from __future__ import annotations

import dataclasses
import time
import tracemalloc

import numpy as np
import pytest
from damage import change, change_json, change_manifest

import tokenfuse_sdk as tf
from tokenfuse_sdk import errors
from tokenfuse_sdk.bundle import read_bundle, write_bundle
from tokenfuse_sdk.weights import expected_tensors


def test_an_honest_one_is_read(bundle):
    assert read_bundle(bundle).config.name == "random-small"


def test_many_keys_one_of_them_twice_take_no_time(bundle):
    keys = ",".join(f'"{i:x}":0' for i in range(90_000))
    text = ("{" + keys + ',"0":0}').encode()
    assert len(text) < 1 << 20
    (bundle / "manifest.json").write_bytes(text)
    began = time.process_time()
    with pytest.raises(errors.BundleFormatError, match="twice"):
        read_bundle(bundle)
    # Seconds at most; to count every key for every key would take minutes.
    assert time.process_time() - began < 20


def test_a_config_of_few_weights_and_a_huge_workspace(tmp_path, bundle_parts):
    config = bundle_parts["config"]
    text = dataclasses.replace(
        config.text, width=1, num_layers=1, num_heads=256, head_dim=1024, max_tokens=16_384
    )
    config = dataclasses.replace(config, text=text)
    weights = {name: np.ones(shape, np.float16) for name, shape in expected_tensors(config).items()}
    write_bundle(tmp_path / "huge", **{**bundle_parts, "config": config, "weights": weights})
    with pytest.raises(errors.UnsupportedModelError, match="workspace would take"):
        tf.load(tmp_path / "huge")


@pytest.mark.parametrize("name", ["scenes-nano", "random-small ", "\u200brandom-small"])
def test_another_name_than_the_config(bundle, name):
    change_manifest(bundle, lambda m: m.update(name=name))
    with pytest.raises(errors.BundleFormatError, match=r"name .*config\.json 'random-small'"):
        read_bundle(bundle)


@pytest.mark.parametrize("version", [0, 2, "1", None, True, 1.5])
def test_an_unknown_format_version(bundle, version):
    change_manifest(bundle, lambda m: m.update(format_version=version))
    with pytest.raises(errors.BundleVersionError, match="format_version"):
        read_bundle(bundle)


def test_a_version_that_is_missing(bundle):
    change_manifest(bundle, lambda m: m.pop("format_version"))
    with pytest.raises(errors.BundleVersionError):
        read_bundle(bundle)


def test_an_unknown_config_key(bundle):
    change_json(bundle, "config.json", lambda c: c["fusion"].update(secret=1))
    with pytest.raises(errors.ConfigError, match=r"config\.json: .*unknown keys secret"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("text", "vocab_size", 1 << 40),
        ("vision", "width", 1 << 40),
        ("vision", "num_layers", -1),
        ("vision", "num_layers", 1 << 30),
        ("vision", "eps", float(0)),
        ("fusion", "kind", "exec"),
        ("fusion", "token_budgets", [4, 2, 8]),
        ("fusion", "token_budgets", "248"),
        ("decoder", "max_tokens", 10**9),
        ("vision", "image_size", "32"),
        ("vision", "class_token", "yes"),
        ("vision", "distillation_token", 1),
        ("vision", "distillation_token", True),
    ],
)
def test_config_values_out_of_range(bundle, section, key, value):
    change_json(bundle, "config.json", lambda c: c[section].update({key: value}))
    with pytest.raises(errors.ConfigError, match=key):
        read_bundle(bundle)


def test_a_config_that_asks_for_more_than_the_file_holds(bundle):
    change_json(bundle, "config.json", lambda c: c["vision"].update(width=8192, mlp_dim=8192))
    tracemalloc.start()
    with pytest.raises(errors.TensorMismatchError, match="needs"):
        read_bundle(bundle)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": 1, "a": 2}',
        b"[" * 100_000,
        b'{"a": ' + b"9" * 10_000 + b"}",
    ],
    ids=["empty", "list", "open", "utf16", "nan", "twice", "deep", "digits"],
)
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_json_that_is_none(bundle, name, data):
    change(bundle, name, data)
    with pytest.raises((errors.BundleFormatError, errors.ConfigError)):
        read_bundle(bundle)
    (bundle / "manifest.json").write_bytes(data)
    with pytest.raises((errors.BundleFormatError, errors.BundleVersionError)):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fit", "crop"),
        ("resample", 3),
        ("image_std", [0.0, 1.0, 1.0]),
        ("image_mean", [0.5]),
        ("size", {"height": 32, "width": 64}),
        ("size", 32),
        ("rescale_factor", 1.0),
        ("extra", 1),
        ("image_mean", [None, 0.5, 0.5]),
    ],
)
def test_preprocessing_that_we_do_not_do(bundle, key, value):
    change_json(bundle, "preprocessor_config.json", lambda c: c.update({key: value}))
    with pytest.raises(errors.ConfigError, match=r"preprocess"):
        read_bundle(bundle)


def test_preprocessing_for_another_size(bundle):
    edit = {"size": {"height": 64, "width": 64}}
    change_json(bundle, "preprocessor_config.json", lambda c: c.update(edit))
    with pytest.raises(errors.ConfigError, match="64 pixels"):
        read_bundle(bundle)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"model": {"type": "Pickle"}}'])
def test_a_tokenizer_that_is_none(bundle, data):
    change(bundle, "tokenizer.json", data)
    with pytest.raises(errors.BundleFormatError, match="tokenizer"):
        read_bundle(bundle)


def test_a_tokenizer_with_ids_past_the_embedding(bundle):
    def edit(tokenizer):
        tokenizer["model"]["vocab"]["zzz"] = 5000

    change_json(bundle, "tokenizer.json", edit)
    with pytest.raises(errors.BundleFormatError, match="5000"):
        read_bundle(bundle)


def test_a_card_that_is_not_text(bundle):
    change(bundle, "README.md", b"\xff\xfe\x00")
    with pytest.raises(errors.BundleFormatError, match="UTF-8"):
        read_bundle(bundle)


def test_every_refusal_is_a_value_error_of_ours(bundle):
    change_manifest(bundle, lambda m: m.update(format_version=9))
    with pytest.raises(ValueError) as caught:
        read_bundle(bundle)
    assert isinstance(caught.value, errors.TokenfuseError)


@pytest.mark.parametrize("text", ["\x1b]0;owned\x07", "\x9b31m", "\x00"])
def test_a_card_or_a_name_that_moves_the_terminal(bundle, text):
    change(bundle, "README.md", f"# model {text}".encode())
    with pytest.raises(errors.BundleFormatError, match="control characters"):
        read_bundle(bundle)
    change_json(bundle, "config.json", lambda c: c.update(name=f"a{text}"))
    with pytest.raises(errors.ConfigError, match="printable"):
        read_bundle(bundle)


@pytest.mark.parametrize("part", [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}])
def test_a_tokenizer_of_parts_that_let_text_grow(bundle, part):
    change_json(bundle, "tokenizer.json", lambda t: t.update(normalizer=part))
    with pytest.raises(errors.BundleFormatError, match="allowed"):
        read_bundle(bundle)
