"""Tar shards that are truncated, damaged or oddly named, and samples that lack something."""

from __future__ import annotations

import io
import re
import tarfile

import pytest
from toy_data import captions, digits, png, source_of, take, write_shard

from tokenfuse_training.errors import BadRecordError, DataError


def write_two(folder, damage):
    """A damaged shard of 10 to 15 and a good one of 20 to 23."""
    write_shard(folder / "a-0.tar", range(10, 16))
    write_shard(folder / "a-1.tar", range(20, 24))
    data = (folder / "a-0.tar").read_bytes()
    (folder / "a-0.tar").write_bytes(damage(data))
    return source_of(folder, "a-{0..1}.tar", shuffle=1)


def header_of(data, name):
    """Where a member's header begins."""
    return data.index(name.encode())


TRUNCATED = [
    # In the picture, in the header, between two files and two samples, at the end mark. A sample
    # is whole once the name of the next one has been read.
    (lambda d: d[: header_of(d, "000013.png") + 512 + 5], 3),
    (lambda d: d[: header_of(d, "000013.png") + 100], 2),
    (lambda d: d[: header_of(d, "000013.json")], 3),
    (lambda d: d[: header_of(d, "000014.png")], 3),
    (lambda d: d[: header_of(d, "000015.json") + 1024], 5),
    # A damaged header, noise, nothing, no tar at all.
    (lambda d: d.replace(b"000013.txt", b"00001\xff.txt"), 3),
    (lambda d: b"", 0),
    (lambda d: b"no tar" * 1000, 0),
    (lambda d: b"\x1f\x8b" + d, 0),
]


@pytest.mark.parametrize(("damage", "num_whole"), TRUNCATED)
def test_a_damaged_shard_is_one_bad_record_and_the_next_follows(tmp_path, damage, num_whole):
    source = write_two(tmp_path, damage)
    count = num_whole + 1 + 4
    for epoch in range(3):
        found = captions(take(source, count, skip=epoch * count))
        bad = [one for one in found if isinstance(one, BadRecordError)]
        assert len(bad) == 1
        assert "a-0.tar" in str(bad[0])
        good = sorted(one for one in found if isinstance(one, str))
        assert good == digits(range(10, 10 + num_whole), range(20, 24))


def test_a_shard_that_goes_away_is_a_bad_record(tmp_path):
    source = write_two(tmp_path, lambda d: d)
    assert len(take(source, 10)) == 10
    (tmp_path / "a-0.tar").unlink()
    found = captions(take(source, 5))
    assert sum(isinstance(one, BadRecordError) for one in found) == 1


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"n2_txt": b""}, r"it has png; need a picture \(jpg;jpeg;png;webp\).*and a text \(txt\)"),
        ({"n2_png": b""}, "it has txt; need"),
        ({"n2_txt": b" \n "}, "caption is empty"),
        ({"n2_txt": b"\xff\xfe"}, "not UTF-8"),
        ({"n2_txt": b"x" * 70_000}, "at most 64 KiB"),
    ],
)
def test_a_sample_that_lacks_something_is_a_bad_record(tmp_path, changed, says):
    write_shard(tmp_path / "b.tar", range(4), **changed)
    source = source_of(tmp_path, "b.tar")
    good, bad = [], []
    for sample in take(source, 4):
        try:
            if isinstance(sample, BadRecordError):
                raise sample
            good.append(source.record(sample).captions[0])
        except BadRecordError as error:
            bad.append(str(error))
    assert sorted(good) == ["0", "1", "3"]
    assert len(bad) == 1 and "000002" in bad[0]
    assert re.search(says, bad[0])


def test_names_are_read_as_the_library_reads_them(tmp_path):
    """Folders, upper case, dots, folders' own entries, links and notes of the library."""
    with tarfile.open(tmp_path / "odd.tar", "w", format=tarfile.PAX_FORMAT) as archive:

        def add(name, data, kind=tarfile.REGTYPE):
            info = tarfile.TarInfo(name)
            info.size, info.type = len(data), kind
            if kind == tarfile.SYMTYPE:
                info.linkname = "/etc/hostname"
            archive.addfile(info, io.BytesIO(data))

        add("__note__", b"x")
        add("train", b"", tarfile.DIRTYPE)
        add("train/1.JPG", png(1))
        add("train/1.txt", b"1")
        add("train/2.jpg", b"", tarfile.SYMTYPE)
        add("train/2.txt", b"2")
        add("train/" + "x" * 200 + "é.png", png(3))
        add("train/" + "x" * 200 + "é.txt", b"3")
        add("train/4.webp", png(4))
        add("train/4.a.jpg", png(9))
        add("train/4.txt", b"4")
    source = source_of(tmp_path, "odd.tar", shuffle=1)
    found = take(source, 4)
    assert captions(found)[::2] == ["1", "3"]
    assert "2" in str(found[1]) and isinstance(found[1], BadRecordError)
    assert found[3].image == png(4)


def test_a_name_that_comes_twice_is_a_bad_record_more(tmp_path):
    with tarfile.open(tmp_path / "c.tar", "w") as archive:
        for name, data in (
            ("1.png", png(1)),
            ("1.png", png(2)),
            ("1.txt", b"1"),
            ("2.png", png(2)),
            ("2.txt", b"2"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    one, two, bad = take(source_of(tmp_path, "c.tar", shuffle=1), 3)
    assert (one.image, one.caption, two.caption) == (png(1), b"1", b"2")
    assert "duplicate" in str(bad)


def test_shards_without_a_sample_are_an_error_not_a_wait(tmp_path):
    write_shard(tmp_path / "e-0.tar", ())
    write_shard(tmp_path / "e-1.tar", ())
    with pytest.raises(DataError, match="no sample"):
        take(source_of(tmp_path, "e-{0..1}.tar"), 1)
    write_shard(tmp_path / "e-1.tar", (7,))
    assert captions(take(source_of(tmp_path, "e-{0..1}.tar"), 3)) == ["7", "7", "7"]
