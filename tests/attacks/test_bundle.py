"""Hostile and damaged bundles: each is refused with its own error, before memory is taken."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import pathlib
import struct
import time
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import load, save

import tokenfuse_sdk as tf
from tokenfuse_sdk import errors
from tokenfuse_sdk.bundle import read_bundle, write_bundle
from tokenfuse_sdk.weights import expected_tensors

WEIGHTS = "model.safetensors"
GOLDEN = "golden.safetensors"


def change(bundle: pathlib.Path, name: str, data: bytes) -> None:
    """Replace a file and make the manifest agree: the attacker can compute hashes too."""
    (bundle / name).write_bytes(data)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def change_manifest(bundle: pathlib.Path, edit) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    edit(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def change_json(bundle: pathlib.Path, name: str, edit) -> None:
    value = json.loads((bundle / name).read_text())
    edit(value)
    change(bundle, name, json.dumps(value).encode())


def change_header(bundle: pathlib.Path, edit) -> None:
    data = (bundle / WEIGHTS).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    edit(header)
    text = json.dumps(header).encode()
    change(bundle, WEIGHTS, struct.pack("<Q", len(text)) + text + data[8 + length :])


def change_weights(bundle: pathlib.Path, edit) -> None:
    arrays = load((bundle / WEIGHTS).read_bytes())
    edit(arrays)
    change(bundle, WEIGHTS, save(arrays))


def test_an_honest_one_is_read(bundle):
    assert read_bundle(bundle).config.name == "random-small"


# ---- the weights file


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


# ---- hashes, sizes and names


def test_a_flipped_bit(bundle):
    data = bytearray((bundle / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (bundle / WEIGHTS).write_bytes(data)
    with pytest.raises(errors.BundleHashError, match="sha256"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "README.md", "golden.safetensors"]
)
def test_a_changed_file_of_the_same_size(bundle, name):
    data = bytearray((bundle / name).read_bytes())
    data[-1] ^= 1
    (bundle / name).write_bytes(data)
    with pytest.raises(errors.BundleHashError, match=name):
        read_bundle(bundle)


def test_another_size_than_listed(bundle):
    with (bundle / WEIGHTS).open("ab") as file:
        file.write(b"x")
    with pytest.raises(errors.BundleSizeError, match="says"):
        read_bundle(bundle)


def test_a_sparse_file_of_terabytes_is_not_read(bundle):
    os.truncate(bundle / WEIGHTS, 1 << 41)
    with pytest.raises(errors.BundleSizeError):
        read_bundle(bundle)


@pytest.mark.parametrize("excess", [1, 1 << 30, None])
def test_weights_larger_than_the_config_can_need(bundle, excess):
    values = sum(math.prod(s) for s in expected_tensors(read_bundle(bundle).config).values())
    most = 4 * values + (2 << 20) + 8
    # None: all that the format allows, 8 GiB. The files are sparse; nobody has computed a hash.
    size = 8 << 30 if excess is None else most + excess
    os.truncate(bundle / WEIGHTS, size)
    change_manifest(bundle, lambda m: m["files"][WEIGHTS].update(size=size))
    tracemalloc.start()
    with pytest.raises(errors.TensorMismatchError, match=f"at most {most}"):
        read_bundle(bundle)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20
    os.truncate(bundle / WEIGHTS, most)
    change_manifest(bundle, lambda m: m["files"][WEIGHTS].update(size=most))
    with pytest.raises(errors.BundleHashError):
        read_bundle(bundle)


def test_a_size_over_its_cap(bundle):
    change_manifest(bundle, lambda m: m["files"]["config.json"].update(size=2 << 20))
    with pytest.raises(errors.BundleSizeError, match="at most"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    "name",
    ["../model.safetensors", "/etc/passwd", "a/../../x", "..", "", ".", "C:\\x", "a\\b", "x\0y"],
)
def test_names_outside_of_the_folder(bundle, name):
    change_manifest(bundle, lambda m: m["files"].update({name: m["files"]["README.md"]}))
    with pytest.raises(errors.BundlePathError):
        read_bundle(bundle)


def test_a_name_that_the_format_does_not_have(bundle):
    change_manifest(bundle, lambda m: m["files"].update({"run.py": m["files"]["README.md"]}))
    with pytest.raises(errors.BundlePathError, match=r"run\.py"):
        read_bundle(bundle)


def test_a_file_that_nobody_listed(bundle):
    (bundle / "run.py").write_text("print()")
    with pytest.raises(errors.BundlePathError, match=r"run\.py"):
        read_bundle(bundle)


def test_links(bundle, tmp_path):
    real = tmp_path / "elsewhere"
    (bundle / WEIGHTS).rename(real)
    (bundle / WEIGHTS).symlink_to(real)
    with pytest.raises(errors.BundleLinkError):
        read_bundle(bundle)
    (bundle / WEIGHTS).unlink()
    real.rename(bundle / WEIGHTS)
    link = tmp_path / "link"
    link.symlink_to(bundle)
    with pytest.raises(errors.BundleLinkError):
        read_bundle(link)


def test_a_pipe_and_a_folder_in_place_of_a_file(bundle):
    (bundle / "README.md").unlink()
    os.mkfifo(bundle / "README.md")
    with pytest.raises(errors.BundleLinkError):
        read_bundle(bundle)
    (bundle / "README.md").unlink()
    (bundle / "README.md").mkdir()
    with pytest.raises(errors.BundleLinkError):
        read_bundle(bundle)


def test_missing_things(bundle, tmp_path):
    with pytest.raises(errors.BundleMissingFileError, match="no bundle"):
        read_bundle(tmp_path / "nothing")
    with pytest.raises(errors.BundleFormatError, match="not a folder"):
        read_bundle(bundle / WEIGHTS)
    change_manifest(bundle, lambda m: m["files"].pop("README.md"))
    with pytest.raises(errors.BundleMissingFileError, match=r"README\.md"):
        read_bundle(bundle)
    (bundle / WEIGHTS).unlink()
    with pytest.raises(errors.BundleMissingFileError, match=r"model\.safetensors"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {},
        {"size": 1},
        {"size": "1", "sha256": "0" * 64},
        {"size": True, "sha256": "0" * 64},
        {"size": 1, "sha256": "zz"},
    ],
)
def test_manifest_entries_that_are_none(bundle, entry):
    change_manifest(bundle, lambda m: m["files"].update({"README.md": entry}))
    with pytest.raises(errors.BundleFormatError):
        read_bundle(bundle)


# ---- versions and configs


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
