"""A mapped file: its hash is that of its bytes, and a change to it is an error."""

from __future__ import annotations

import errno
import gc
import hashlib
import mmap
import os

import pytest

from tokenfuse_sdk import mapped_file
from tokenfuse_sdk.mapped_file import map_plain_file
from tokenfuse_sdk.plain_file import FileChangedError, FileTooLargeError, NotPlainFileError


@pytest.mark.parametrize("num_bytes", [0, 1, 4096, 5000, 1 << 18, (1 << 18) + 1, 3 << 20])
def test_what_is_there_is_seen(tmp_path, num_bytes):
    data = os.urandom(num_bytes)
    (tmp_path / "a").write_bytes(data)
    file = map_plain_file(tmp_path / "a", max_bytes=4 << 20)
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    assert file.data == data
    assert file.data.readonly
    file.check_unchanged()


def test_pages_that_are_given_back_take_no_memory_and_are_read_again(tmp_path, resident_bytes):
    path, page = tmp_path / "a", mmap.PAGESIZE
    data = os.urandom(100 * page + 1)
    path.write_bytes(data)
    file = map_plain_file(path, max_bytes=len(data))
    assert resident_bytes(path) == 0
    assert file.data == data
    assert resident_bytes(path) == 101 * page
    # Every page that the bytes lie on.
    file.release(page + 1, 2 * page + 1)
    assert resident_bytes(path) == 99 * page
    file.release(0, len(data))
    assert resident_bytes(path) == 0
    assert file.data == data


def test_what_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(bytes(11))
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(FileTooLargeError):
        map_plain_file(tmp_path / "a", max_bytes=10)
    with pytest.raises(OSError) as caught:
        map_plain_file(tmp_path / "link", max_bytes=20, follow_links=False)
    assert caught.value.errno == errno.ELOOP
    with pytest.raises(IsADirectoryError):
        map_plain_file(tmp_path, max_bytes=10)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(NotPlainFileError):
            map_plain_file(tmp_path / "pipe", max_bytes=10)


@pytest.mark.parametrize("size", [0, 3, 5, 1 << 20])
def test_a_file_that_changes_while_it_is_hashed(tmp_path, monkeypatch, size):
    path = tmp_path / "a"
    path.write_bytes(bytes(4))
    opened = mapped_file.open_plain_file

    def late(*args, **kwargs):
        result = opened(*args, **kwargs)
        os.truncate(path, size)
        return result

    monkeypatch.setattr(mapped_file, "open_plain_file", late)
    with pytest.raises(FileChangedError, match="changed"):
        map_plain_file(path, max_bytes=10)


@pytest.mark.parametrize("size", [0, 3, 5, 1 << 20])
def test_a_file_that_changes_between_hash_and_mapping(tmp_path, monkeypatch, size):
    path = tmp_path / "a"
    path.write_bytes(bytes(4))
    hashed = mapped_file.MappedFile._hash

    def early(file):
        result = hashed(file)
        os.truncate(path, size)
        return result

    monkeypatch.setattr(mapped_file.MappedFile, "_hash", early)
    with pytest.raises(FileChangedError, match="changed"):
        map_plain_file(path, max_bytes=10)


def test_a_file_that_is_written_to_afterwards(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(4))
    file = map_plain_file(path, max_bytes=10)
    # The same size; a file system's clock may be coarse.
    path.write_bytes(b"abcd")
    os.utime(path, ns=(1, 1))
    with pytest.raises(FileChangedError, match="changed"):
        file.check_unchanged()
    # What replaces it is another file.
    path.write_bytes(bytes(4))
    file = map_plain_file(path, max_bytes=10)
    (tmp_path / "b").write_bytes(b"abcd")
    (tmp_path / "b").replace(path)
    file.check_unchanged()
    assert file.data == bytes(4)


def test_nothing_stays_open(tmp_path):
    (tmp_path / "a").write_bytes(bytes(11))
    lowest = os.open(tmp_path, os.O_RDONLY)
    os.close(lowest)
    for most in (20, 10):
        try:
            file = map_plain_file(tmp_path / "a", max_bytes=most)
            assert os.open(tmp_path, os.O_RDONLY) > lowest
            os.close(lowest + 2)
            del file
        except FileTooLargeError:
            pass
        gc.collect()
        again = os.open(tmp_path, os.O_RDONLY)
        os.close(again)
        assert again == lowest
