"""Files of image tokens: what is too large, or no file, is refused before it is read."""

from __future__ import annotations

import errno
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


def left_in(folder):
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("target", "match"),
    [
        ("none/t.safetensors", r"there is no folder \S+none; make it, or pass another path"),
        ("t.safetensors/u", r"there is no folder \S+t.safetensors; make it, or pass another path"),
        ("folder", "which is a folder; pass another path"),
        ("a" * 300, r"\(File name too long: .*pass another path, in a folder that you may write"),
        ("a\0b", r"null byte\); pass another path"),
        ("", "an empty path; pass another path"),
    ],
)
def test_where_no_file_can_be_made_is_told_and_nothing_is_left(path, tmp_path, target, match):
    tokens = ImageTokens.load(path)
    (tmp_path / "folder").mkdir()
    before = left_in(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(errors.OutputPathError, match=match) as caught:
            tokens.save(tmp_path / target if target else "", overwrite=overwrite)
        assert isinstance(caught.value, OSError)
    assert left_in(tmp_path) == before


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_folder_that_may_not_be_written_is_told(path, monkeypatch, code):
    tokens = ImageTokens.load(path)

    # Root writes everywhere, so the system's answer is given here.
    def refuse(name, *args):
        raise OSError(code, os.strerror(code), str(name))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(errors.OutputPathError, match=f"{os.strerror(code)}: {path.parent}\\);"):
        tokens.save(path, overwrite=True)


@pytest.mark.skipif(os.name != "posix", reason="needs limits of a process")
def test_a_disk_without_room_leaves_the_file_of_before(path, tmp_path):
    import resource

    before, content = left_in(tmp_path), path.read_bytes()
    large = ImageTokens(f_ND=np.ones((64, 64), np.float32), model_name="m", weights_sha256="0")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(errors.OutputPathError, match=r"File too large: .*has room"):
            large.save(path, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert left_in(tmp_path) == before
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("source", "match"),
    [
        (".", "Is a directory"),
        ("t.safetensors/u", "Not a directory"),
        ("a" * 300 + "/t", "File name too long"),
        ("a\0b", "null byte"),
        ("none", "there is no file"),
        ("", "is empty"),
    ],
)
def test_what_cannot_be_opened_is_told(path, tmp_path, source, match):
    with pytest.raises(errors.TokensError, match=rf"{match}.*ImageTokens\.save wrote") as caught:
        ImageTokens.load(tmp_path / source if source else "")
    assert isinstance(caught.value, FileNotFoundError) == (source == "none")


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
