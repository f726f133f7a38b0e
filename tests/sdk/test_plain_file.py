"""A plain file of limited size is read; everything else is refused, and never waited for."""

from __future__ import annotations

import contextlib
import errno
import os
import threading

import pytest

from tokenfuse_sdk.plain_file import (
    FileChangedError,
    FileTooLargeError,
    NotPlainFileError,
    PlainFileError,
    read_plain_file,
)


@pytest.mark.parametrize("num_bytes", [0, 1, 9, 10])
def test_what_is_there_is_read(tmp_path, num_bytes):
    path = tmp_path / "a"
    path.write_bytes(bytes(range(num_bytes)))
    assert read_plain_file(path, max_bytes=10) == bytes(range(num_bytes))
    assert read_plain_file(str(path), max_bytes=10, follow_links=False) == bytes(range(num_bytes))


def test_one_byte_too_many(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(11))
    with pytest.raises(FileTooLargeError, match="has 11 bytes; at most 10") as caught:
        read_plain_file(path, max_bytes=10)
    assert caught.value.num_bytes == 11


def test_links_are_followed_or_refused(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert read_plain_file(tmp_path / "link", max_bytes=1) == b"x"
    with pytest.raises(OSError) as caught:
        read_plain_file(tmp_path / "link", max_bytes=1, follow_links=False)
    assert caught.value.errno == errno.ELOOP


def test_folders_and_files_that_are_not_there(tmp_path):
    with pytest.raises(IsADirectoryError):
        read_plain_file(tmp_path, max_bytes=10)
    with pytest.raises(FileNotFoundError):
        read_plain_file(tmp_path / "none", max_bytes=10)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    found: list[type[BaseException]] = []

    def work() -> None:
        try:
            read_plain_file(path, max_bytes=10)
        except PlainFileError as error:
            found.append(type(error))

    # On a thread that nobody waits for: it would wait for a writer, who never comes.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(30)
    assert found == [NotPlainFileError]


@pytest.mark.parametrize("size", [3, 5, 100])
def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch, size):
    path = tmp_path / "a"
    path.write_bytes(bytes(4))
    fstat = os.fstat

    def late(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        os.truncate(path, size)
        return status

    monkeypatch.setattr("tokenfuse_sdk.plain_file.os.fstat", late)
    with pytest.raises(FileChangedError, match="changed"):
        read_plain_file(path, max_bytes=10)


def test_nothing_stays_open(tmp_path):
    (tmp_path / "a").write_bytes(bytes(11))
    lowest = os.open(tmp_path, os.O_RDONLY)
    os.close(lowest)
    for path, most in ((tmp_path / "a", 20), (tmp_path / "a", 10), (tmp_path, 10)):
        with contextlib.suppress(OSError):
            read_plain_file(path, max_bytes=most)
        again = os.open(tmp_path, os.O_RDONLY)
        os.close(again)
        assert again == lowest
