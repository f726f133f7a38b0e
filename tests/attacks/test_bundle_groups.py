"""Hostile groups: halves, links, strangers, and graphs that lead out of their folder."""

from __future__ import annotations

import os
import shutil
import time

import onnx
import pytest
from damage import change, change_manifest

from tokenfuse_sdk import errors
from tokenfuse_sdk.bundle import add_groups, read_bundle

ONNX, ENGINES = "onnx/fp32", "engines/sm_86-fp16"


@pytest.fixture
def exported(bundle, make_group):
    """A bundle with graphs and engines."""
    groups = {name: make_group(name, bundle) for name in (ONNX, ENGINES)}
    add_groups(bundle, bundle, groups, overwrite=True)
    return bundle


def refused(bundle, error, match) -> None:
    with pytest.raises(error, match=match):
        read_bundle(bundle)


def change_graph(bundle, edit) -> None:
    """Change the decoder's graph, and its size and hash."""
    name = f"{ONNX}/decoder.onnx"
    model = onnx.load(bundle / name)
    edit(model)
    change(bundle, name, model.SerializeToString())


def test_honest_groups_are_read(exported):
    read = read_bundle(exported)
    assert (read.onnx_precisions, read.engine_names) == (("fp32",), ("sm_86-fp16",))
    for group in (ONNX, ENGINES):
        assert read.open_group(group)


@pytest.mark.parametrize(
    "name",
    [
        f"{ONNX}/text_fusion.onnx",
        f"{ENGINES}/decoder.engine",
        f"{ENGINES}/engine.json",
        f"{ENGINES}/report.json",
    ],
)
def test_half_a_group(exported, name):
    group, _, file = name.rpartition("/")
    (exported / name).unlink()
    refused(exported, errors.BundleMissingFileError, f"{file} is not there")
    change_manifest(exported, lambda m: m["files"].pop(name))
    refused(exported, errors.BundleMissingFileError, f"group {group} without {file}")


def test_a_group_that_nobody_listed(exported):
    def drop(manifest):
        for name in [name for name in manifest["files"] if name.startswith(ONNX)]:
            del manifest["files"][name]

    change_manifest(exported, drop)
    refused(exported, errors.BundlePathError, f"{ONNX}/.* is not listed")
    shutil.rmtree(exported / ONNX)
    (exported / ONNX).mkdir()
    refused(exported, errors.BundleMissingFileError, f"{ONNX} is empty")


@pytest.mark.parametrize("group", [ONNX, ENGINES])
def test_another_size_of_a_groups_file(exported, group):
    path = next((exported / group).glob("decoder.*"))
    with path.open("ab") as file:
        file.write(b"x")
    refused(exported, errors.BundleSizeError, f"{path.name} has .* says")
    os.truncate(path, 1 << 41)
    refused(exported, errors.BundleSizeError, f"{path.name} has .* says")


@pytest.mark.parametrize("group", [ONNX, ENGINES])
def test_a_changed_file_of_a_group_is_found_when_it_is_opened(exported, group):
    path = next((exported / group).glob("decoder.*"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    read = read_bundle(exported)
    with pytest.raises(errors.BundleHashError, match=f"{path.name} does not have the sha256"):
        read.open_group(group)


def test_a_groups_file_that_changes_after_the_bundle_was_read(exported):
    read = read_bundle(exported)
    path = exported / ENGINES / "decoder.engine"
    path.write_bytes(b"more bytes than there were when it was read")
    with pytest.raises(errors.BundleSizeError, match=r"decoder\.engine has"):
        read.open_group(ENGINES)
    path.unlink()
    with pytest.raises(errors.BundleMissingFileError, match=r"decoder\.engine is not there"):
        read.open_group(ENGINES)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        (f"{ONNX}/decoder.onnx", 1 << 31),
        (f"{ONNX}/decoder.onnx.data", (8 << 30) + 1),
        (f"{ENGINES}/decoder.engine", (8 << 30) + 1),
        (f"{ENGINES}/engine.json", (1 << 20) + 1),
        (f"{ENGINES}/report.json", (16 << 20) + 1),
    ],
)
def test_a_size_of_a_groups_file_over_its_cap(exported, name, size):
    entry = {"size": size, "sha256": "0" * 64}
    change_manifest(exported, lambda m: m["files"].update({name: entry}))
    refused(exported, errors.BundleSizeError, f"at most {size - 1}")


@pytest.mark.parametrize(
    "name",
    [
        f"{ONNX}/../../model.safetensors",
        f"{ONNX}/../fp32/decoder.onnx",
        f"{ONNX}//decoder.onnx",
        f"/{ONNX}/decoder.onnx",
        f"{ONNX}/./decoder.onnx",
        f"{ONNX}\\decoder.onnx",
        f"{ONNX}/decoder.onnx\0",
        f"{ONNX}/sub/decoder.onnx",
        f"{ONNX}/decoder.engine",
        f"{ONNX}/extra.onnx",
        ONNX,
        f"{ONNX}/",
        "onnx/decoder.onnx",
        "onnx/fp64/decoder.onnx",
        "onnx/FP32/decoder.onnx",
        f"x/{ONNX}/decoder.onnx",
        f"{ENGINES}/libevil.so",
        "engines/sm_86/decoder.engine",
        "engines/sm_1-fp16/decoder.engine",
        "engines/sm_1234-fp16/decoder.engine",
        "engines/sm_86a-fp16/decoder.engine",
        "engines/sm_٨٦-fp16/decoder.engine",
        "engines/gfx90a-fp16/decoder.engine",
        "engines/sm_86-fp64/decoder.engine",
        "engines/sm_86-fp16\n/decoder.engine",
    ],
)
def test_names_that_no_group_has(exported, name):
    entry = {"size": 1, "sha256": "0" * 64}
    change_manifest(exported, lambda m: m["files"].update({name: entry}))
    refused(exported, errors.BundlePathError, "lists")


@pytest.mark.parametrize(
    "name",
    [
        f"{ONNX}/run.py",
        f"{ONNX}/decoder.onnx.data.bak",
        f"{ENGINES}/.hidden",
        "onnx/run.py",
        "onnx/fp64",
        "engines/x86-fp16",
        "engines/sm_86",
    ],
)
def test_a_stranger_in_a_folder_of_groups(exported, name):
    (exported / name).write_text("print()")
    refused(exported, errors.BundlePathError, "which the format does not have")


def test_a_groups_file_that_nobody_listed(exported):
    (exported / ONNX / "decoder.onnx.data").write_bytes(b"x")
    refused(exported, errors.BundlePathError, r"decoder\.onnx\.data is not listed")


@pytest.mark.parametrize("name", ["onnx", ONNX, f"{ONNX}/decoder.onnx", ENGINES])
@pytest.mark.parametrize("since", [False, True], ids=["before", "since"])
def test_links_in_groups(exported, tmp_path, name, since):
    read = read_bundle(exported)
    (exported / name).rename(tmp_path / "elsewhere")
    (exported / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.BundleLinkError, match="is a link"):
        if since:
            read.open_group(ENGINES if name == ENGINES else ONNX)
        else:
            read_bundle(exported)


@pytest.mark.parametrize("name", ["onnx", ONNX, ENGINES])
def test_a_file_or_a_pipe_in_place_of_a_folder(exported, name):
    shutil.rmtree(exported / name)
    (exported / name).write_text("x")
    refused(exported, errors.BundleLinkError, f"{name} is not a folder")
    (exported / name).unlink()
    os.mkfifo(exported / name)
    refused(exported, errors.BundleLinkError, f"{name} is not a folder")


def test_a_folder_or_a_pipe_in_place_of_a_groups_file(exported):
    path = exported / ENGINES / "decoder.engine"
    path.unlink()
    path.mkdir()
    refused(exported, errors.BundleLinkError, r"decoder\.engine is not a plain file")
    path.rmdir()
    os.mkfifo(path)
    refused(exported, errors.BundleLinkError, r"decoder\.engine is not a plain file")


@pytest.mark.parametrize(
    "location", ["../../model.safetensors", "/etc/passwd", "text_fusion.onnx.data"]
)
def test_a_graph_whose_weights_lie_elsewhere(exported, make_group, tmp_path, location):
    def edit(model):
        tensor = model.graph.initializer.add(name="w", data_type=1, dims=[1])
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "4")):
            tensor.external_data.add(key=key, value=value)

    change_graph(exported, edit)
    read = read_bundle(exported)
    with pytest.raises(errors.BundlePathError, match=r"decoder\.onnx refers to the file"):
        read.open_group(ONNX)
    # Nor is it written.
    with pytest.raises(errors.BundlePathError, match=r"decoder\.onnx refers to the file"):
        add_groups(exported, tmp_path / "new", {ONNX: exported / ONNX})
    assert not (tmp_path / "new").exists()


def test_weights_that_no_graph_refers_to(exported):
    change(exported, f"{ONNX}/decoder.onnx.data", b"anything")
    with pytest.raises(errors.BundleFormatError, match="does not refer to it"):
        read_bundle(exported).open_group(ONNX)


@pytest.mark.parametrize("data", [b"", b"\x80\x04\x95", b"#!/bin/sh\n"])
def test_a_graph_that_is_none(exported, data):
    change(exported, f"{ONNX}/decoder.onnx", data)
    with pytest.raises(errors.BundleFormatError, match=r"decoder\.onnx "):
        read_bundle(exported).open_group(ONNX)


@pytest.mark.parametrize("key", ["tokenfuse.weights_sha256", "tokenfuse.precision"])
def test_a_graph_of_another_model_or_precision(exported, key):
    def other(model):
        (entry,) = [entry for entry in model.metadata_props if entry.key == key]
        entry.value = "x" * 100_000

    change_graph(exported, other)
    with pytest.raises(errors.BundleHashError, match=f"{key} 'xxx") as caught:
        read_bundle(exported).open_group(ONNX)
    assert len(str(caught.value)) < 600
    change_graph(exported, lambda model: model.ClearField("metadata_props"))
    with pytest.raises(errors.BundleHashError, match=key if "prec" in key else "tokenfuse"):
        read_bundle(exported).open_group(ONNX)


def test_thousands_of_listed_files_that_are_not_there(exported):
    entry = {"size": 0, "sha256": "0" * 64}
    files = [path.name for path in (exported / ENGINES).iterdir()]
    names = {
        f"engines/sm_{sm}-{precision}/{file}": entry
        for sm in range(100, 300)
        for precision in ("fp32", "fp16", "bf16", "int8")
        for file in files
    }
    change_manifest(exported, lambda m: m["files"].update(names))
    assert (1 << 18) < (exported / "manifest.json").stat().st_size < 1 << 20
    began = time.process_time()
    refused(exported, errors.BundleMissingFileError, "is not there")
    # A fraction of a second; to look at every file for every group would take many.
    assert time.process_time() - began < 10
