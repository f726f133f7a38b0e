"""The key of an engine and its file: what they refuse, and what they say."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex

import pytest

from tokenfuse_sdk.engine_file import EngineFile, EngineProfile
from tokenfuse_sdk.engine_key import EngineKey, engine_group, graph_sha256, this_system
from tokenfuse_sdk.errors import (
    BundleFormatError,
    BundleHashError,
    BundleVersionError,
    DeviceError,
    EngineKeyError,
)
from tokenfuse_sdk.graphs import GRAPHS
from tokenfuse_sdk.mapped_file import map_plain_file

A, B = "a" * 64, "b" * 64


def make_key(**changes: object) -> EngineKey:
    values = {
        "flavour": "tensorrt_rtx",
        "version": "1.7.1.116",
        "target": "sm_86",
        "os": "linux",
        "arch": "x86_64",
        "precision": "fp16",
        "batches": (1, 8),
        "budgets": (4, 16),
        "text_lengths": (16, 32),
        "onnx_sha256": dict.fromkeys(GRAPHS, A),
        "weights_sha256": B,
    }
    return EngineKey(**(values | changes))


OTHER = {
    "flavour": "tensorrt",
    "version": "10.3.0.26",
    "target": "sm_89",
    "os": "windows",
    "arch": "aarch64",
    "precision": "bf16",
    "batches": (1,),
    "budgets": (4, 8, 16),
    "text_lengths": (16,),
    "onnx_sha256": dict.fromkeys(GRAPHS, A) | {"decoder": B},
    "weights_sha256": A,
}


def make_file() -> EngineFile:
    key = make_key()
    profiles = [
        EngineProfile(graph="image_encoder", index=i, kind="encode", batch=b, budget=16)
        for i, b in enumerate(key.batches)
    ]
    pairs = [(b, n) for b in key.batches for n in key.budgets]
    profiles += [
        EngineProfile(graph="text_fusion", index=i, kind="fuse", batch=b, budget=n)
        for i, (b, n) in enumerate(pairs)
    ]
    kinds = [(kind, b, n) for b, n in pairs for kind in ("step", "score")]
    profiles += [
        EngineProfile(graph="decoder", index=i, kind=kind, batch=b, budget=n)
        for i, (kind, b, n) in enumerate(kinds)
    ]
    return EngineFile(key=key, profiles=tuple(profiles), files={name: (10, A) for name in GRAPHS})


def test_a_key_comes_back_from_json():
    key = make_key()
    assert EngineKey.from_dict(json.loads(json.dumps(key.to_dict()))) == key
    assert set(OTHER) == {field.name for field in dataclasses.fields(EngineKey)}


def test_the_digest_is_of_the_canonical_json_and_of_every_field():
    key = make_key()
    text = json.dumps(key.to_dict(), sort_keys=True, separators=(",", ":"))
    assert key.digest == hashlib.sha256(text.encode()).hexdigest()
    shuffled = make_key(onnx_sha256=dict.fromkeys(reversed(GRAPHS), A))
    assert shuffled.digest == key.digest
    others = {make_key(**{name: value}).digest for name, value in OTHER.items()}
    assert len(others | {key.digest}) == len(OTHER) + 1


def test_the_same_key_passes():
    make_key().check(make_key(), "bundle")


@pytest.mark.parametrize("name", list(OTHER))
def test_each_difference_is_named_with_both_values_and_the_command(name):
    here = make_key(**{name: OTHER[name]})
    with pytest.raises(EngineKeyError) as caught:
        make_key().check(here, "my model")
    said = str(caught.value)
    assert isinstance(caught.value, DeviceError)
    if name.endswith("sha256"):
        assert ("decoder.onnx" if name == "onnx_sha256" else "weights") in said
        assert A[:12] in said and B[:12] in said
    else:
        mine, theirs = (key.to_dict()[name] for key in (make_key(), here))
        assert f"{name}: {mine} in the engine, {theirs} here" in said
    assert f"`{here.build_command('my model')}`" in said
    words = shlex.split(here.build_command("my model"))
    assert words[:2] == ["tokenfuse", "build"]
    options = dict(zip(words[2:-1:2], words[3:-1:2], strict=True))
    lists = [",".join(map(str, numbers)) for numbers in (here.batches, here.budgets)]
    assert words[-1] == "--overwrite" and options == {
        "-m": "my model",
        "-o": "my model",
        "--flavour": here.flavour,
        "--precision": here.precision,
        "--target": here.target,
        "--batch": lists[0],
        "--budget": lists[1],
    }
    # Nothing else differs, so nothing else is said.
    assert said.count(" here;") + said.count(" here)") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("flavour", "tensorrt_lite"),
        ("flavour", ["tensorrt"]),
        ("version", ""),
        ("version", "1.7\x1b[2J"),
        ("version", 10),
        ("target", "sm_8"),
        ("target", "sm_86/../x"),
        ("target", None),
        ("precision", "int8_fp16"),
        ("batches", []),
        ("batches", [0]),
        ("batches", [True]),
        ("batches", [8, 1]),
        ("batches", list(range(1, 66))),
        ("budgets", [1.0]),
        ("budgets", 4),
        ("text_lengths", [1 << 21]),
        ("onnx_sha256", {"decoder": A}),
        ("onnx_sha256", dict.fromkeys(GRAPHS, A.upper())),
        ("weights_sha256", "a" * 63),
    ],
)
def test_values_that_are_refused(name, value):
    with pytest.raises(BundleFormatError):
        EngineKey.from_dict(make_key().to_dict() | {name: value})


def test_keys_that_are_missing_or_unknown():
    whole = make_key().to_dict()
    for wrong in (whole | {"more": 1}, {}, [], None, {k: whole[k] for k in list(whole)[1:]}):
        with pytest.raises(BundleFormatError, match="needs exactly"):
            EngineKey.from_dict(wrong)


def test_words_of_a_key():
    assert engine_group("sm_86", "fp16") == "engines/sm_86-fp16"
    assert graph_sha256(A) == A
    assert graph_sha256(A, B) == hashlib.sha256(f"{A} {B}".encode()).hexdigest()
    make_key(**dict(zip(("os", "arch"), this_system(), strict=True)))


def test_a_file_comes_back():
    file = make_file()
    assert EngineFile.from_json(file.to_json()) == file


def test_engines_are_those_that_the_file_describes(tmp_path):
    def group(**engines: bytes) -> dict:
        parts = {f"{name}.engine": data for name, data in engines.items()}
        for name, data in ({"engine.json": file.to_json()} | parts).items():
            (tmp_path / name).write_bytes(data)
        return {path.name: map_plain_file(path, max_bytes=1 << 20) for path in tmp_path.iterdir()}

    engines = {graph: graph.encode() for graph in GRAPHS}
    hashes = {g: (len(data), hashlib.sha256(data).hexdigest()) for g, data in engines.items()}
    file = dataclasses.replace(make_file(), files=hashes)
    assert EngineFile.of_group(group(**engines)) == file
    for other in (b"recoded", b"decoder and more"):
        with pytest.raises(BundleHashError, match=r"decoder\.engine is not the one .*build"):
            EngineFile.of_group(group(**(engines | {"decoder": other})))


def _changed(change) -> bytes:
    value = json.loads(make_file().to_json())
    change(value)
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.pop("files"),
        lambda v: v.update(more=1),
        lambda v: v.update(profiles={}),
        lambda v: v["profiles"].pop(),
        lambda v: v["profiles"].append(v["profiles"][0]),
        lambda v: v["profiles"].reverse(),
        lambda v: v["profiles"][0].update(budget=4),
        lambda v: v["profiles"][-1].update(kind="step"),
        lambda v: v["profiles"][0].update(index=True),
        lambda v: v["profiles"][0].update(graph=["decoder"]),
        lambda v: v["profiles"][0].update(path="/"),
        lambda v: v["files"].update({"../decoder": {"size": 1, "sha256": A}}),
        lambda v: v["files"]["decoder"].update(size=-1),
        lambda v: v["files"]["decoder"].update(sha256=7),
        lambda v: v["key"].update(target="sm_1"),
    ],
)
def test_files_that_are_refused(change):
    with pytest.raises(BundleFormatError):
        EngineFile.from_json(_changed(change))


def test_another_version_or_digest_is_told():
    with pytest.raises(BundleVersionError, match="format_version 2"):
        EngineFile.from_json(_changed(lambda v: v.update(format_version=2)))
    with pytest.raises(BundleHashError, match="digest"):
        EngineFile.from_json(_changed(lambda v: v["key"].update(arch="aarch64")))
