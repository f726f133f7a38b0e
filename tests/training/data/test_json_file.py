"""Reading JSON piece by piece gives what reading it whole gives, or says what is wrong."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenfuse_training.data.formats import json_file, json_text
from tokenfuse_training.data.formats.json_file import read_json, read_json_lines
from tokenfuse_training.errors import DataError

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@pytest.fixture
def in_pieces(monkeypatch):
    """Sets how many bytes are read at a time."""
    return lambda size: monkeypatch.setattr(json_text, "_CHUNK_BYTES", size)


def _read(path, names):
    elements = {name: [] for name in names}
    others = {}
    file = read_json(
        str(path),
        each={name: lambda k, value, own=own: own.append(value) for name, own in elements.items()},
        each_field=others.__setitem__,
    )
    return {name: elements[name] for name in file.counts} | others, file


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 20])
@settings(max_examples=30)
@given(
    value=st.dictionaries(st.sampled_from("abcd"), _VALUES),
    rows=st.lists(_VALUES, max_size=4),
    indent=st.sampled_from([None, 1]),
    escape=st.booleans(),
)
def test_the_same_as_the_standard_library(tmp_path_factory, size, value, rows, indent, escape):
    path = tmp_path_factory.mktemp("json") / "file.json"
    whole = {"first": rows} | value | {"rows": rows}
    path.write_bytes(
        json.dumps(whole, indent=indent, ensure_ascii=escape).encode("utf-8", "replace")
    )
    expected = json.loads(path.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_text, "_CHUNK_BYTES", size)
        found, file = _read(path, ["first", "rows"])
    assert found == expected
    assert repr(sorted(found)) == repr(sorted(expected))
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert file.counts == {"first": len(rows), "rows": len(rows)}


@pytest.mark.parametrize("number", ["1e-5", "1E+20", "-0.25", "12345", "-0", "0.5e1"])
def test_a_number_is_not_cut_in_two(tmp_path, in_pieces, number):
    path = tmp_path / "file.json"
    path.write_text('{"rows":[%s,%s],"n":%s}' % (number, number, number))  # noqa: UP031
    for size in range(1, 12):
        in_pieces(size)
        found, _ = _read(path, ["rows"])
        assert found == {"rows": [float(number)] * 2, "n": float(number)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "need an object, found the end: is it cut short"),
        ("[1]", "need an object, found an array"),
        ('"rows"', "need an object"),
        ('{"rows": [{"a": 1}, {"b": ', "is it cut short"),
        ('{"rows": [{"a": 1}, {"b": "wor', "is it cut short"),
        ('{"rows": [1, 2', "found the end: is it cut short"),
        ('{"rows": [1, 2]', "found the end: is it cut short"),
        ('{"rows":', "is it cut short"),
        ('{"rows": [1 2]}', "need a comma or the end of 'rows'"),
        ('{"rows": [1,]}', "is not JSON"),
        ('{"rows": [1],}', "need a key"),
        ('{"rows": {"a": 1}}', "need an array as 'rows', found an object"),
        ('{"rows" [1]}', "need a colon"),
        ("{rows: [1]}", "need a key"),
        ('{"rows": []} {}', "holds more behind its end"),
        ('{"rows": [NaN]}', "holds NaN"),
        ('{"rows": [{"a": -Infinity}]}', "holds -Infinity"),
        ('{"other": NaN}', "holds NaN"),
        ('{"rows": [], "rows": []}', "has the key 'rows', which was there before"),
        ('{"other": 1, "other": 2}', "has the key 'other', which was there before"),
        ('{"rows": [{"a": 1, "b": 2, "a": 3}]}', "has the key 'a' twice"),
        ('{"rows": [' + "9" * 5000 + "]}", "digits"),
        ('{"rows": [' + "[" * 100_000 + "]}", "nests too deeply"),
    ],
)
@pytest.mark.parametrize("size", [3, 1 << 20])
def test_what_is_no_such_file(tmp_path, in_pieces, text, said, size):
    in_pieces(size)
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        _read(path, ["rows"])
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_what_is_not_utf8(tmp_path, in_pieces, size):
    in_pieces(size)
    path = tmp_path / "file.json"
    for data in (b'{"rows": ["\xff"]}', b'{"rows": ["\xc3'):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"UTF-8|cut short"):
            _read(path, ["rows"])


def test_a_damaged_file_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(json_text, "MAX_ELEMENT_CHARS", 1000)
    monkeypatch.setattr(json_text, "_CHUNK_BYTES", 100)
    path = tmp_path / "file.json"
    path.write_text('{"rows": [{"a": ' + '"word", ' * 1000)
    with pytest.raises(DataError, match="an element of over 1000 characters"):
        _read(path, ["rows"])


def test_no_file_a_folder_and_a_file_that_is_too_large(tmp_path, monkeypatch):
    for path, said in ((tmp_path / "none.json", "No such file"), (tmp_path, "directory")):
        with pytest.raises(DataError, match=said):
            read_json(str(path))
    monkeypatch.setattr(json_file, "MAX_FILE_BYTES", 4)
    (tmp_path / "large.json").write_text('{"a": 1}')
    with pytest.raises(DataError, match="has 8 bytes; at most 4"):
        read_json(str(tmp_path / "large.json"))


def test_lines(tmp_path):
    path = tmp_path / "file.jsonl"
    path.write_bytes('{"a": "ä"}\n\n  [1] \r\n"b"'.encode())
    found = []
    sha256 = read_json_lines(str(path), lambda number, value: found.append((number, value)))
    assert found == [(1, {"a": "ä"}), (3, [1]), (4, "b")]
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"a": 1', "line 2, is not JSON"),
        ('{"a": 1} {}', "line 2, holds more behind its value"),
        ('{"a": NaN}', "line 2, holds NaN"),
        ('{"a": 1, "a": 1}', "line 2, has the key 'a' twice"),
        ("[" * 100_000, "line 2, nests too deeply"),
        ('{"a": "' + "x" * 2000 + '"}', "line 2, has more than 1000 bytes"),
    ],
)
def test_a_bad_line(tmp_path, monkeypatch, line, said):
    if "xxx" in line:
        monkeypatch.setattr(json_file, "MAX_ELEMENT_CHARS", 1000)
    path = tmp_path / "file.jsonl"
    path.write_text("{}\n" + line)
    with pytest.raises(DataError) as caught:
        read_json_lines(str(path), lambda number, value: None)
    assert said in str(caught.value)
