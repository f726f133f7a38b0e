"""Tar shards as the webdataset library and img2dataset write them, whole and damaged."""

from __future__ import annotations

import pickle

import pytest
import webdataset
from toy_data import captions, digits, png, source_of, take, write_shard

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_sdk.preprocess import decode_image
from tokenfuse_sdk.sizes import named_config
from tokenfuse_training.config.config_file import read_config
from tokenfuse_training.data import shard_index, shard_paths, shards
from tokenfuse_training.data.open import open_source
from tokenfuse_training.errors import DataError
from tokenfuse_training.sources import open_sources

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
    assert sorted(captions(take(source_of(folder, limit=99), 40))) == ALL


@pytest.mark.parametrize(
    ("sizes", "num_streams", "limit", "taken"),
    [
        ((9, 9, 9, 9), 3, 7, (3, 2, 2)),
        # A small shard leaves its share to the first of the others, then to the next shard.
        ((9, 1, 9, 9), 3, 9, (5, 1, 3)),
        ((4, 1, 3, 9), 3, 10, (4, 1, 3, 2)),
        ((4, 1, 3, 2), 3, 99, (4, 1, 3, 2)),
        ((9, 9, 9, 9), 1, 12, (9, 3)),
    ],
)
def test_streams_share_a_limit(tmp_path, sizes, num_streams, limit, taken):
    for shard, size in enumerate(sizes):
        write_shard(tmp_path / f"{shard}.tar", range(100 * shard, 100 * shard + size))
    source = source_of(tmp_path, "{0..3}.tar", num_streams=num_streams, limit=limit)
    # Of 3 epochs: which shards a stream has differs, and a picture comes once in each.
    read = [captions(take(source, 3 * limit, stream)) for stream in range(num_streams)]
    expected = digits(*(range(100 * i, 100 * i + n) for i, n in enumerate(taken)))
    assert sorted({caption for stream in read for caption in stream}) == expected
    assert all(read)
    for skip in (1, limit, 2 * limit):
        fresh = source_of(tmp_path, "{0..3}.tar", num_streams=num_streams, limit=limit)
        assert captions(take(fresh, limit, skip=skip)) == read[0][skip : skip + limit]


def test_the_documented_trial_of_the_recipe_of_shards(tmp_path):
    for shard in range(9):
        write_shard(tmp_path / f"{shard}.tar", range(100 * shard, 100 * shard + 30))
    sets = ["data.*.limit=200", f"data.*.root={tmp_path}", "data.pairs.shards=['{0..8}.tar']"]
    assert read_config("pretrain", sets).data["pairs"].num_streams == 1
    config = read_config("pretrain", [*sets, "data.pairs.num_streams=8"])
    vision = named_config(config.model.size).vision
    source = open_source("pairs", config.data["pairs"], vision=vision)
    assert source.num_streams == config.data["pairs"].num_streams == 8
    read = [captions(take(source, 25, stream)) for stream in range(8)]
    assert sum(len(set(stream)) for stream in read) == len({c for s in read for c in s}) == 200


def test_a_limit_below_the_streams_is_refused(folder):
    with pytest.raises(ConfigError, match=r"limit=3 leaves some of num_streams=4"):
        source_of(folder, limit=3, num_streams=4)


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


def test_an_error_of_a_run_names_the_data_set(tmp_path):
    write_shard(tmp_path / "0.tar", range(3))
    sets = [f"data.*.root={tmp_path}", "data.pairs.shards=[0.tar]", "data.pairs.num_streams=8"]
    config = read_config("pretrain", sets)
    with pytest.raises(ConfigError, match=r"^data\.pairs: num_streams=8 exceeds the 1 shards"):
        open_sources(config, ["pairs"], vision=named_config("nano").vision)
