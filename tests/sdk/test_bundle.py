"""Writing a bundle: all of it or nothing; what is read back is what was given."""

from __future__ import annotations

import json
import stat

import numpy as np
import pytest

from tokenfuse_sdk import errors
from tokenfuse_sdk.bundle import FORMAT_VERSION, read_bundle, write_bundle


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
