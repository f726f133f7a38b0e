"""Pictures that are not there, are none, or lie outside of the folder."""

from __future__ import annotations

import os
import pathlib

import numpy as np
import pytest
from damaged_files import Files
from published_files import write_gqa

from tokenfuse_sdk.errors import ImageError
from tokenfuse_sdk.preprocess import decode_image
from tokenfuse_sdk.sizes import named_config
from tokenfuse_training.config.data_settings import GqaData
from tokenfuse_training.data.open import open_source
from tokenfuse_training.errors import BadRecordError


@pytest.fixture
def files(tmp_path):
    return lambda name, **how: Files(tmp_path, name, **how)


def _picture_of(own):
    """The picture of the first record."""
    return own.open().record(0).image


def test_a_missing_picture(files):
    own = files("vqa2")
    os.remove(_picture_of(own))
    records, (message,) = own.read()
    assert len(records) == 1
    assert "COCO_train2014_000000000009.jpg cannot be read: No such file" in message


def test_a_picture_that_is_a_folder_or_a_pipe(files):
    own = files("gqa")
    path = _picture_of(own)
    for make in (os.mkdir, os.mkfifo):
        if os.path.isdir(path):
            os.rmdir(path)
        else:
            os.remove(path)
        make(path)
        with pytest.raises(BadRecordError, match="is no plain file"):
            own.open().record(0)


def test_a_picture_that_does_not_decode_is_found_by_whoever_decodes_it(files):
    own = files("vqa2")
    path = _picture_of(own)
    whole = pathlib.Path(path).read_bytes()
    for data in (b"", b"no picture", whole[:100]):
        pathlib.Path(path).write_bytes(data)
        with pytest.raises(ImageError):
            decode_image(own.open().record(0).image)


@pytest.mark.parametrize(
    "name", ["../secret.jpg", "a/../../secret.jpg", "..\\secret.jpg", "a\0b.jpg"]
)
def test_a_name_that_leads_out_of_the_folder(files, name):
    own = files("coco_captions")
    (own.root / "secret.jpg").write_bytes(pathlib.Path(_picture_of(own)).read_bytes())
    own.edit("annotations", lambda value: value["images"][0].update(file_name=name))
    with pytest.raises(BadRecordError, match="leads out of"):
        own.open().record(0)


def test_an_absolute_name(files):
    own = files("coco_captions")
    path = _picture_of(own)
    own.edit("annotations", lambda value: value["images"][0].update(file_name=path))
    with pytest.raises(BadRecordError, match="leads out of"):
        own.open().record(0)


def test_ids_of_gqa_and_snli_ve_lead_out_no_more(tmp_path):
    rows = [("../images", "Is it?", "yes"), ("237", "Who?", "man")]
    pictures = {"../images": np.zeros((8, 8, 3), np.uint8), "237": np.zeros((8, 8, 3), np.uint8)}
    settings = GqaData(root=str(tmp_path), **write_gqa(tmp_path, rows, pictures=pictures))
    with pytest.raises(BadRecordError, match="leads out of"):
        open_source("mine", settings, vision=named_config("nano").vision).record(0)


def test_links(files, tmp_path):
    own = files("coco_captions")
    path = _picture_of(own)
    outside = tmp_path / "outside.jpg"
    os.rename(path, outside)
    os.symlink(outside, path)
    with pytest.raises(BadRecordError, match="is a link out of"):
        own.open().record(0)
    # One that stays inside is as good as a file, and so is one to the folder itself.
    inside = own.path("images") / "real.jpg"
    os.remove(path)
    os.rename(outside, inside)
    os.symlink("real.jpg", path)
    assert own.open().record(0).image == path
    os.symlink(own.path("images"), tmp_path / "linked")
    assert own.open(images="linked").record(0).captions == ("a red bus", "a bus")
    # A folder below that leads out, and a link to itself.
    os.symlink(tmp_path, own.path("images") / "out")
    (tmp_path / "outside.jpg").write_bytes(inside.read_bytes())
    own.edit("annotations", lambda value: value["images"][0].update(file_name="out/outside.jpg"))
    with pytest.raises(BadRecordError, match="is a link out of"):
        own.open().record(0)
    own.edit("annotations", lambda value: value["images"][0].update(file_name="round.jpg"))
    os.symlink("round.jpg", own.path("images") / "round.jpg")
    with pytest.raises(BadRecordError, match="cannot be read"):
        own.open().record(0)


def test_a_name_in_a_folder_below(files):
    own = files("coco_captions")
    path = _picture_of(own)
    below = own.path("images") / "part"
    below.mkdir()
    os.rename(path, below / "x.jpg")
    own.edit("annotations", lambda value: value["images"][0].update(file_name="part/x.jpg"))
    assert own.open().record(0).image == str(below / "x.jpg")
