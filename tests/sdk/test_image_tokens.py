"""Files of image tokens: what is too large, or no file, is refused before it is read."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from tokenfuse_sdk import ImageTokens, errors, image_tokens


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "t.safetensors"
    f_ND = np.arange(8, dtype=np.float32).reshape(2, 4)
    ImageTokens(f_ND=f_ND, model_name="m", weights_sha256="0" * 64).save(path)
    return path


def test_a_file_over_the_cap_is_refused(path):
    os.truncate(path, image_tokens._MAX_FILE_BYTES + 1)
    with pytest.raises(errors.TokensError, match=r"bytes; at most .* ImageTokens\.save wrote"):
        ImageTokens.load(path)


def test_a_link_to_a_file_is_followed(path):
    link = path.with_name("link.safetensors")
    link.symlink_to(path)
    np.testing.assert_array_equal(ImageTokens.load(link).f_ND, ImageTokens.load(path).f_ND)


def test_a_file_that_changes_while_it_is_read_is_refused(path, monkeypatch):
    fstat = os.fstat

    def late(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        os.truncate(path, status.st_size + 1)
        return status

    monkeypatch.setattr(os, "fstat", late)
    with pytest.raises(errors.TokensError, match="changed while it was read"):
        ImageTokens.load(path)


def test_a_folder_that_is_not_there_is_named(path, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        ImageTokens.load(path).save(tmp_path / "none" / "t.safetensors")
    assert caught.value.filename == str(tmp_path / "none")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_tokens_that_are_not_finite_are_refused(value):
    f_ND = np.full((4, 8), value, np.float32)
    with pytest.raises(errors.TokensError, match="NaN or infinity"):
        ImageTokens(f_ND=f_ND, model_name="m", weights_sha256="0" * 64)


def test_a_pickled_copy_is_read_only_too():
    f_ND = np.ones((4, 8), np.float32)
    tokens = ImageTokens(f_ND=f_ND, model_name="m", weights_sha256="0" * 64)
    copy = pickle.loads(pickle.dumps(tokens))
    np.testing.assert_array_equal(copy.f_ND, f_ND)
    assert (copy.model_name, copy.weights_sha256) == ("m", "0" * 64)
    assert not copy.f_ND.flags.writeable
