"""Hostile folders: hashes and sizes that are wrong, names that lead out, links, pipes."""

from __future__ import annotations

import errno
import math
import os
import pathlib
import tracemalloc

import pytest
from damage import WEIGHTS, change_manifest

from tokenfuse_sdk import errors
from tokenfuse_sdk.bundle import read_bundle
from tokenfuse_sdk.mapped_file import MappedFile
from tokenfuse_sdk.model import Model
from tokenfuse_sdk.runtime import place
from tokenfuse_sdk.weights import expected_tensors


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


def test_a_file_that_changes_while_it_is_loaded(bundle):
    placement = place("cpu", "fp32", 1)
    read = read_bundle(bundle)
    Model(read, placement).close()
    with (bundle / WEIGHTS).open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"\x01\x02")
    # A file system's clock may be coarse.
    os.utime(bundle / WEIGHTS, ns=(1, 1))
    with pytest.raises(errors.BundleSizeError, match="changed"):
        Model(read, placement)


def test_weights_that_are_cut_short_after_they_were_hashed(bundle, monkeypatch):
    hashed = MappedFile._hash

    def cut(file):
        result = hashed(file)
        os.truncate(bundle / WEIGHTS, 5000)
        return result

    monkeypatch.setattr(MappedFile, "_hash", cut)
    with pytest.raises(errors.BundleSizeError, match="changed"):
        read_bundle(bundle)


def test_a_disk_that_fails(bundle, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("tokenfuse_sdk.mapped_file.os.fdopen", fail)
    monkeypatch.setattr("tokenfuse_sdk.bundle.files.read_plain_file", _read_bytes)
    with pytest.raises(errors.BundlePathError, match="cannot be read"):
        read_bundle(bundle)


def _read_bytes(path, **_):
    return path.read_bytes()


def test_a_folder_that_may_not_be_read(bundle, monkeypatch):
    # As root the system refuses nothing: the refusal is made.
    lstat = pathlib.Path.lstat

    def refuse(path):
        if path.name == "manifest.json":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return lstat(path)

    monkeypatch.setattr(pathlib.Path, "lstat", refuse)
    with pytest.raises(errors.BundlePathError, match="cannot be opened: Permission denied"):
        read_bundle(bundle)
