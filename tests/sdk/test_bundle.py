"""Writing a bundle: all of it or nothing; what is read back is what was given."""

from __future__ import annotations

import json
import pathlib
import stat
import sys
import threading

import numpy as np
import pytest

from tokenfuse_sdk import atomic, errors
from tokenfuse_sdk.bundle import (
    FORMAT_VERSION,
    check_output,
    check_record,
    read_bundle,
    write_bundle,
)
from tokenfuse_sdk.shipped import find_bundle


def test_what_was_written_is_read(bundle_parts, bundle):
    read = read_bundle(bundle)
    assert read.config == bundle_parts["config"]
    assert read.preprocess == bundle_parts["preprocess"]
    assert read.card == bundle_parts["card"]
    assert set(read.weights) == set(bundle_parts["weights"])
    for name, array in bundle_parts["weights"].items():
        np.testing.assert_array_equal(read.weights[name], array)
        assert read.weights[name].shape == array.shape
        assert not read.weights[name].flags.writeable
    np.testing.assert_array_equal(read.golden["image_u8"], bundle_parts["golden"]["image_u8"])
    assert read.size_bytes == sum(
        f.stat().st_size for f in bundle.iterdir() if f.name != "manifest.json"
    )


def test_it_is_read_where_the_system_gives_no_thread(bundle, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    digest = read_bundle(bundle).digest
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert read_bundle(bundle).digest == digest


def test_the_same_parts_make_the_same_bytes(bundle_parts, bundle, tmp_path):
    write_bundle(tmp_path / "again", **bundle_parts)
    for file in bundle.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


def test_the_official_readers_read_it(bundle):
    import tokenizers
    from safetensors import safe_open

    with safe_open(bundle / "model.safetensors", framework="numpy") as file:
        assert "fusion.image_resampler.latents" in file.keys()  # noqa: SIM118
        assert file.metadata() == {"format": "pt"}
    assert tokenizers.Tokenizer.from_file(str(bundle / "tokenizer.json")).get_vocab_size() == 98
    assert json.loads((bundle / "manifest.json").read_text())["format_version"] == FORMAT_VERSION


def test_nothing_is_left_of_a_bundle_that_is_not_valid(bundle_parts, tmp_path):
    weights = dict(bundle_parts["weights"])
    weights["vision.norm.weight"] = np.full(32, np.nan, np.float16)
    with pytest.raises(errors.TensorDataError):
        write_bundle(tmp_path / "bad", **{**bundle_parts, "weights": weights})
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unasked(bundle_parts, bundle):
    before = (bundle / "manifest.json").stat().st_mtime_ns
    with pytest.raises(errors.BundleExistsError):
        write_bundle(bundle, **bundle_parts)
    assert (bundle / "manifest.json").stat().st_mtime_ns == before
    changed = {**bundle_parts, "card": "another card"}
    write_bundle(bundle, **changed, overwrite=True)
    assert read_bundle(bundle).card == "another card"
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]


def test_a_failed_overwrite_keeps_the_old_one(bundle_parts, bundle):
    weights = {name: array.astype(np.int32) for name, array in bundle_parts["weights"].items()}
    with pytest.raises(errors.TensorMismatchError):
        write_bundle(bundle, **{**bundle_parts, "weights": weights}, overwrite=True)
    assert read_bundle(bundle).card == bundle_parts["card"]


def test_what_is_no_bundle_is_never_overwritten(bundle_parts, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.png").write_bytes(b"x")
    with pytest.raises(errors.BundleExistsError, match="not a bundle"):
        write_bundle(tmp_path / "photos", **bundle_parts, overwrite=True)
    assert (tmp_path / "photos" / "me.png").exists()


def test_others_may_read_it(bundle):
    assert stat.S_IMODE(bundle.stat().st_mode) & 0o555 == 0o555


def _times_gone(bundle, parts) -> int:
    """How often the bundle was not there while it was replaced 20 times."""
    gone = 0
    stopped = threading.Event()

    def watch() -> None:
        nonlocal gone
        while not stopped.is_set():
            gone += not bundle.exists()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for index in range(20):
            write_bundle(bundle, **{**parts, "card": f"card {index}"}, overwrite=True)
    finally:
        stopped.set()
        watcher.join()
    assert read_bundle(bundle).card == "card 19"
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]
    return gone


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's renameat2")
def test_a_replaced_bundle_is_there_at_every_moment(bundle_parts, bundle):
    other = bundle.with_name("other")
    other.mkdir()
    if not atomic._exchange(bundle, other):
        pytest.skip("needs a file system that exchanges paths")
    assert list(bundle.iterdir()) == []
    assert atomic._exchange(other, bundle)
    other.rmdir()
    assert _times_gone(bundle, bundle_parts) == 0


def test_a_bundle_is_replaced_where_paths_cannot_be_exchanged(bundle_parts, bundle, monkeypatch):
    monkeypatch.setattr(atomic, "_exchange", lambda first, second: False)
    _times_gone(bundle, bundle_parts)


def test_a_failed_second_rename_puts_the_old_one_back(bundle_parts, bundle, monkeypatch):
    monkeypatch.setattr(atomic, "_exchange", lambda first, second: False)
    rename = pathlib.Path.rename

    def fail(self, target):
        if pathlib.Path(target) == bundle and self.parent == bundle.parent:
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(pathlib.Path, "rename", fail)
    with pytest.raises(OSError, match="no"):
        write_bundle(bundle, **bundle_parts, overwrite=True)
    monkeypatch.undo()
    assert read_bundle(bundle).card == bundle_parts["card"]
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]


def test_an_exchange_that_fails_is_told(bundle, tmp_path):
    if not sys.platform.startswith("linux"):
        pytest.skip("needs Linux's renameat2")
    with pytest.raises(FileNotFoundError):
        if not atomic._exchange(bundle, tmp_path / "none"):
            pytest.skip("needs a file system that exchanges paths")


def test_an_empty_path_is_not_the_folder_that_one_stands_in(bundle_parts, bundle, monkeypatch):
    monkeypatch.chdir(bundle)
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    assert read_bundle(".").digest == read_bundle(bundle).digest
    for call in (
        lambda: read_bundle(""),
        lambda: check_record("", overwrite=True),
        lambda: check_output("", overwrite=True),
        lambda: write_bundle("", **bundle_parts, overwrite=True),
    ):
        with pytest.raises(errors.BundlePathError, match="path of the bundle is empty"):
            call()
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
    with pytest.raises(errors.ConfigError, match="model='': need the name"):
        find_bundle("")
