"""Tar shards as the webdataset library and img2dataset write them, whole and damaged."""

from __future__ import annotations

import io
import itertools
import pickle
import re
import tarfile

import pytest
import webdataset
from toy_data import png, write_shard

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_sdk.preprocess import decode_image
from tokenfuse_training.data import shard_index, shard_paths, shards
from tokenfuse_training.data.shards import WebDatasetSource
from tokenfuse_training.errors import BadRecordError, DataError
from tokenfuse_training.train_config import WebDatasetData

NUM_SHARDS, PER_SHARD = 5, 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Shards by the library's own writer."""
    made = tmp_path_factory.mktemp("shards")
    with webdataset.ShardWriter(str(made / "cc-%06d.tar"), maxcount=PER_SHARD, verbose=0) as writer:
        for number in range(NUM_SHARDS * PER_SHARD):
            caption = " ".join(str(number))
            facts = {"caption": caption, "url": "x", "key": f"{number:06d}"}
            writer.write(
                {"__key__": f"{number:06d}", "jpg": png(number), "txt": caption, "json": facts}
            )
    assert len(list(made.iterdir())) == NUM_SHARDS
    return made


def source_of(folder, *patterns: str, **changed):
    settings = {"num_streams": 1, "shuffle": 4, **changed}
    return WebDatasetSource(
        WebDatasetData(
            root=str(folder), shards=patterns or ("cc-{000000..000004}.tar",), **settings
        )
    )


def take(source, count, stream=0, skip=0, seed=3):
    return list(itertools.islice(source.open_stream(stream, seed=seed, skip=skip), count))


def captions(samples):
    return [s if isinstance(s, BadRecordError) else s.caption.decode() for s in samples]


def digits(*numbers):
    return sorted(" ".join(str(number)) for number in itertools.chain(*numbers))


ALL = digits(range(NUM_SHARDS * PER_SHARD))


@pytest.mark.parametrize("num_streams", [1, 2, 5])
def test_every_epoch_has_every_sample_once(folder, num_streams):
    source = source_of(folder, num_streams=num_streams)
    # Streams have shards of their own: each stream's share of two epochs, by the shards dealt.
    read = [captions(take(source, 200, stream)) for stream in range(num_streams)]
    for epoch in range(2):
        seen = []
        for stream in range(num_streams):
            num_shards = len(range(stream, NUM_SHARDS, num_streams))
            here = num_shards * PER_SHARD
            seen += read[stream][epoch * here : (epoch + 1) * here]
        assert sorted(seen) == ALL


def test_samples_are_those_that_the_library_reads(folder):
    urls = [str(folder / f"cc-{i:06d}.tar") for i in range(NUM_SHARDS)]
    theirs = {
        sample["__key__"]: (sample["jpg"], sample["txt"])
        for sample in webdataset.WebDataset(urls, shardshuffle=False)
    }
    ours = {s.key.rpartition(":")[2]: (s.image, s.caption) for s in take(source_of(folder), 40)}
    assert ours == theirs


def test_orders_differ_by_epoch_and_seed_and_cross_shards(folder):
    source = source_of(folder, shuffle=12)
    two = captions(take(source, 80))
    assert two[:40] != two[40:]
    assert two[:40] != captions(take(source, 40, seed=4))
    assert two == captions(take(source_of(folder, shuffle=12), 80))
    first = {sample.key.rpartition(":")[0] for sample in take(source, 12)}
    assert len(first) > 1


@pytest.mark.parametrize("skip", [0, 1, 7, 23, 39, 40, 41, 95, 200])
def test_skipping_is_reading_without_looking(folder, skip, monkeypatch):
    source = source_of(folder)
    whole = take(source, skip + 5)
    fresh, seen = source_of(folder), []
    read = shards.read_part
    monkeypatch.setattr(
        shards, "read_part", lambda path, place: seen.append(path) or read(path, place)
    )
    assert take(fresh, 5, skip=skip) == whole[skip:]
    # A picture and two captions of each sample that is given: none of those passed over.
    assert len(seen) == 5 * 3
    # Epochs whose shards were counted are not opened at all.
    opened = []
    members = shard_index._members
    monkeypatch.setattr(shard_index, "_members", lambda path: opened.append(path) or members(path))
    if skip >= 80:
        assert take(fresh, 5, skip=skip) == whole[skip:]
        assert len(opened) <= NUM_SHARDS + 1


def test_a_record_is_the_picture_with_its_caption_and_another(folder):
    source = source_of(folder)
    for sample in take(source, 40):
        record = source.record(pickle.loads(pickle.dumps(sample)))
        number = int(record.key[-6:])
        assert record.captions == (" ".join(str(number)),)
        assert decode_image(record.image)[0, 0].tolist() == [number, 5, 9]
        assert record.other_caption in set(ALL) - set(record.captions)


def test_the_other_caption_is_one_that_can_be_used_and_differs(tmp_path):
    changed = {"n1_txt": b"\xff", "n2_txt": b" ", "n3_png": b"", "n4_txt": b"0 \n"}
    write_shard(tmp_path / "o.tar", range(7), **changed)
    source = source_of(tmp_path, "o.tar", shuffle=1)
    first = take(source, 1)[0]
    # 1 is no text, 2 is empty, 4 says the same; 3 has no picture, and a caption all the same.
    assert first.other_caption == b"3"
    write_shard(tmp_path / "s.tar", (5, 5, 5))
    sample = take(source_of(tmp_path, "s.tar"), 1)[0]
    assert sample.other_caption is None


@pytest.mark.parametrize(
    "patterns",
    [
        ("cc-{000000..000004}.tar",),
        ("cc-{000000..000002}.tar", "cc-00000{3,4}.tar"),
        ("{cc-{000000..000003},cc-000004}.tar",),
    ],
)
def test_brace_patterns(folder, patterns):
    assert sorted(captions(take(source_of(folder, *patterns), 40))) == ALL


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("cc-{000000..000007}.tar", r"3 of 8 files are not there.*cc-000005.tar"),
        ("nothing.tar", "1 of 1 files"),
        (".", "no plain files"),
        ("cc-{000000..000004.tar", "not balanced"),
        ("cc-{0..999999999999}.tar", "more than 1,000,000"),
        ("https://example.org/cc-0.tar", "Nothing is downloaded"),
        ("pipe:cat /etc/hostname", "not there"),
        ("cc.tar.gz", "unpack"),
        ("cc-00000{0,1,1}.tar", "more than once"),
    ],
)
def test_what_is_no_shard_is_told_at_opening(folder, pattern, says):
    with pytest.raises(DataError, match=says):
        source_of(folder, pattern)


def test_a_pattern_that_multiplies_is_refused(folder, monkeypatch):
    monkeypatch.setattr(shard_paths, "_MAX_SHARDS", 100)
    with pytest.raises(DataError, match="more than 100 files"):
        source_of(folder, "{0..9}{0..9}{0..9}.tar")


def test_more_streams_than_shards_are_refused(folder):
    with pytest.raises(ConfigError, match="num_streams=6 exceeds the 5 shards"):
        source_of(folder, num_streams=6)


def test_a_limit_takes_the_first_ones(folder):
    source = source_of(folder, limit=19)
    assert sorted(captions(take(source, 19))) == digits(range(19))
    assert sorted(captions(take(source, 19, skip=38))) == digits(range(19))
    with pytest.raises(ConfigError, match="the 3 shards"):
        source_of(folder, limit=19, num_streams=4)
    assert sorted(captions(take(source_of(folder, limit=99), 40))) == ALL


def test_a_fingerprint_changes_with_what_is_read(folder, tmp_path):
    same = source_of(folder).fingerprint
    assert source_of(folder).fingerprint == same
    others = [
        source_of(folder, **c).fingerprint
        for c in (
            {"limit": 3},
            {"shuffle": 5},
            {"num_streams": 2},
            {"caption": "json"},
            {"image": "png"},
        )
    ]
    others.append(source_of(folder, "cc-{000000..000003}.tar").fingerprint)
    assert len({same, *others}) == 7


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
