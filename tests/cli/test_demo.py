"""`tokenfuse demo` gives its answers even where its picture cannot be written."""

from __future__ import annotations

import errno
import json
import os
import sys

import pytest

from tokenfuse_sdk import atomic
from tokenfuse_sdk.cli.main import main


def _run(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["tokenfuse", "demo", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    captured = capsys.readouterr()
    return int(stopped.value.code or 0), captured.out, captured.err


def test_the_answers_come_first_in_a_folder_that_cannot_be_written(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def refuse(path: object, data: bytes) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), ".")

    monkeypatch.setattr(atomic, "write_file", refuse)
    code, out, err = _run(monkeypatch, capsys)
    assert code == 1
    assert "scene1.png" in out
    assert "of 24 right" in out
    assert "cannot be written to tokenfuse-demo.png (Read-only file system" in err
    assert "--output" in err
    assert "Errno" not in err


def test_the_answers_come_first_where_the_folder_is_not_there(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, out, err = _run(monkeypatch, capsys, "--json", "-o", "none/sheet.png")
    assert code == 1
    assert len(json.loads(out)["answers"]) == 24
    assert "there is no folder none; make it, or pass another --output" in err
    assert list(tmp_path.iterdir()) == []
