"""A file is written whole or not at all, with the mode that `open` would give it."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from tokenfuse_sdk.atomic import write_file


@pytest.fixture(params=[0o022, 0o077, 0o002])
def mask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_the_mode_is_that_of_open(tmp_path, mask, monkeypatch):
    def fail(mask: int) -> int:
        pytest.fail("the umask is the whole process's: other threads see it change")

    monkeypatch.setattr(os, "umask", fail)
    write_file(tmp_path / "a", b"x")
    monkeypatch.undo()
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    for data in (b"first", b""):
        write_file(tmp_path / "a", data)
        assert (tmp_path / "a").read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_longest_name_that_there_may_be(tmp_path):
    write_file(tmp_path / ("a" * 255), b"x")
    assert (tmp_path / ("a" * 255)).read_bytes() == b"x"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_file(tmp_path / "none" / "a", b"x")
    assert caught.value.filename == str(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as caught:
        write_file(tmp_path / "file" / "a", b"x")
    assert caught.value.filename == str(tmp_path / "file")


def test_what_cannot_be_replaced_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError) as caught:
        write_file(tmp_path / "a", b"x")
    assert caught.value.filename == str(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_may_be_written_but_not_listed_takes_a_file(tmp_path, monkeypatch):
    opened = os.open

    # Root lists everything, so the system's answer is given here.
    def refuse(name, flags, *args):
        if flags == os.O_RDONLY:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(name))
        return opened(name, flags, *args)

    monkeypatch.setattr(os, "open", refuse)
    write_file(tmp_path / "a", b"x")
    monkeypatch.undo()
    assert (tmp_path / "a").read_bytes() == b"x"
