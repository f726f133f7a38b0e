"""Groups of a bundle: graphs and engines join it whole, and are read as they were."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import threading
import tracemalloc

import numpy as np
import pytest

from tokenfuse_sdk import errors
from tokenfuse_sdk.bundle import (
    FileRow,
    add_groups,
    check_output,
    files,
    read_bundle,
    record_precisions,
    with_files_table,
    write_bundle,
)
from tokenfuse_sdk.bundle.manifest import FILE_CAPS


def contents(folder) -> dict[str, bytes]:
    """Every file by its path in the folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def exported(bundle, make_group):
    """A bundle with two groups."""
    groups = {name: make_group(name, bundle) for name in ("onnx/fp32", "engines/sm_86-fp16")}
    add_groups(bundle, bundle, groups, overwrite=True)
    return bundle


def test_a_bundle_without_groups_has_none(bundle):
    read = read_bundle(bundle)
    assert read.onnx_precisions == read.engine_names == ()
    with pytest.raises(errors.BundleMissingFileError, match="has no onnx/fp32, but no group"):
        read.open_group("onnx/fp32")


@pytest.mark.parametrize("in_place", [True, False])
def test_groups_join_a_bundle_and_nothing_else_changes(bundle, make_group, tmp_path, in_place):
    before = contents(bundle)
    target = bundle if in_place else tmp_path / "exported"
    names = ("engines/sm_120-fp16", "onnx/int8_fp16", "engines/sm_86-bf16", "onnx/fp32")
    groups = {name: make_group(name, bundle) for name in names}
    add_groups(bundle, target, groups, overwrite=in_place)
    after = contents(target)
    added = {
        f"{group}/{file}": data
        for group, folder in groups.items()
        for file, data in contents(folder).items()
    }
    assert {**after, "manifest.json": b""} == {**before, **added, "manifest.json": b""}
    listed = json.loads(after["manifest.json"])["files"]
    for name, data in added.items():
        assert listed[name] == {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    read = read_bundle(target)
    assert read.onnx_precisions == ("fp32", "int8_fp16")
    assert read.engine_names == ("sm_86-bf16", "sm_120-fp16")
    assert read.size_bytes == sum(len(d) for n, d in after.items() if n != "manifest.json")
    for name, folder in groups.items():
        opened = read.open_group(name)
        assert {file: bytes(mapped.data) for file, mapped in opened.items()} == contents(folder)
        with pytest.raises(TypeError):
            opened["more"] = None
    if not in_place:
        assert contents(bundle) == before
        # Two bundles share no file: one that is written to leaves the other as it is.
        assert all(path.stat().st_nlink == 1 for path in target.rglob("*") if path.is_file())
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_large_files_are_not_read_into_memory(bundle, make_group, tmp_path):
    folder = make_group("engines/sm_86-fp16", bundle)
    os.truncate(folder / "decoder.engine", 64 << 20)
    tracemalloc.start()
    add_groups(bundle, tmp_path / "new", {"engines/sm_86-fp16": folder})
    read_bundle(tmp_path / "new").open_group("engines/sm_86-fp16")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_a_group_is_replaced_and_the_others_stay(exported, make_group):
    before = contents(exported)
    folder = exported.parent / "groups" / "engines/sm_86-fp16"
    (folder / "report.json").write_bytes(b"[1]")
    add_groups(exported, exported, {"engines/sm_86-fp16": folder}, overwrite=True)
    after = contents(exported)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"manifest.json", "engines/sm_86-fp16/report.json"}
    assert after.keys() == before.keys()


def test_golden_outputs_and_the_card_are_replaced(exported):
    golden = {"fused_tokens": np.arange(6, dtype=np.float32).reshape(1, 2, 3)}
    before = contents(exported)
    add_groups(exported, exported, {}, golden=golden, card="# exported\n", overwrite=True)
    read = read_bundle(exported)
    assert read.card == "# exported\n"
    np.testing.assert_array_equal(read.golden["fused_tokens"], golden["fused_tokens"])
    after = contents(exported)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"manifest.json", "README.md", "golden.safetensors"}


def test_the_card_forgets_what_it_said_of_files_that_were_replaced(exported, make_group):
    files = ("onnx/fp32/decoder.onnx", "engines/sm_86-fp16/decoder.engine")
    rows = [
        FileRow(file=file, precision="fp32", num_bytes=1, parity="cosine 1", answers="9/9")
        for file in files
    ]
    card = with_files_table(read_bundle(exported).card, rows)
    add_groups(exported, exported, {}, card=card, overwrite=True)
    folder = exported.parent / "groups"
    group = {"engines/sm_86-fp16": folder / "engines/sm_86-fp16"}
    add_groups(exported, exported, group, overwrite=True)
    assert read_bundle(exported).card == with_files_table(card, rows[:1])
    add_groups(exported, exported, group, card=card, overwrite=True)
    assert read_bundle(exported).card == card


def test_a_record_of_precisions_leaves_the_groups(exported, record_of):
    before = contents(exported)
    inode = (exported / "onnx/fp32/decoder.onnx").stat().st_ino
    record_precisions(exported, record_of(read_bundle(exported), int8=1_999))
    after = contents(exported)
    assert after.keys() - before.keys() == {"precisions.json"}
    assert [name for name in before if after[name] != before[name]] == ["manifest.json"]
    # Linked, not copied: it may have gigabytes.
    assert (exported / "onnx/fp32/decoder.onnx").stat().st_ino == inode


def test_a_new_model_has_no_groups_of_the_old_one(exported, bundle_parts):
    write_bundle(exported, **bundle_parts, overwrite=True)
    assert contents(exported).keys() == {*FILE_CAPS, "manifest.json"} - {"precisions.json"}


def test_permissions_stay(exported, make_group):
    modes = {
        "manifest.json": 0o640,
        "README.md": 0o600,
        "onnx": 0o700,
        "onnx/fp32": 0o500,
        "onnx/fp32/decoder.onnx": 0o400,
    }
    for name, mode in modes.items():
        (exported / name).chmod(mode)
    exported.chmod(0o550)
    folder = make_group("onnx/bf16", exported)
    (folder / "decoder.onnx").chmod(0o600)
    add_groups(exported, exported, {"onnx/bf16": folder}, overwrite=True)
    modes |= {".": 0o550, "onnx/bf16": 0o550, "onnx/bf16/decoder.onnx": 0o640}
    for name, mode in modes.items():
        assert stat.S_IMODE((exported / name).stat().st_mode) == mode, name
    for path in (exported, *(path for path in exported.rglob("*") if path.is_dir())):
        path.chmod(0o700)


def test_nothing_is_written_over_what_is_there_unasked(bundle, make_group, tmp_path):
    groups = {"onnx/fp32": make_group("onnx/fp32", bundle)}
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.png").write_bytes(b"x")
    before = contents(tmp_path)
    for target, overwrite in ((bundle, False), (tmp_path / "photos", True)):
        with pytest.raises(errors.BundleExistsError):
            add_groups(bundle, target, groups, overwrite=overwrite)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("group", ["", "onnx", "onnx/fp64", "engines/fp16", "tokenizer.json/x"])
def test_a_group_that_the_format_does_not_have(bundle, tmp_path, group):
    with pytest.raises(errors.BundlePathError, match="a bundle has no group"):
        add_groups(bundle, tmp_path / "new", {group: tmp_path})
    with pytest.raises(errors.BundlePathError, match="a bundle has no group"):
        read_bundle(bundle).open_group(group)
    assert not (tmp_path / "new").exists()


def _without_a_graph(folder):
    (folder / "decoder.onnx").unlink()


def _with_another_file(folder):
    (folder / "notes.txt").write_text("x")


def _with_a_link(folder):
    (folder / "decoder.onnx").rename(folder.parent / "decoder.onnx")
    (folder / "decoder.onnx").symlink_to(folder.parent / "decoder.onnx")


def _over_the_cap(folder):
    os.truncate(folder / "decoder.onnx", 1 << 31)


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (_without_a_graph, errors.BundleMissingFileError),
        (_with_another_file, errors.BundlePathError),
        (_with_a_link, errors.BundleLinkError),
        (_over_the_cap, errors.BundleSizeError),
    ],
)
def test_a_folder_that_is_no_group_changes_nothing(bundle, make_group, damage, error):
    folder = make_group("onnx/fp32", bundle)
    damage(folder)
    before = contents(bundle)
    with pytest.raises(error):
        add_groups(bundle, bundle, {"onnx/fp32": folder}, overwrite=True)
    assert contents(bundle) == before


@pytest.mark.parametrize("stop", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_full_disk_and_an_interrupt_leave_nothing(exported, monkeypatch, make_group, stop):
    def end(file, chunk, source, cap, expected):
        if source.name == "text_fusion.onnx":
            raise stop
        return read(file, chunk, source, cap, expected)

    read = files._read
    folder = make_group("onnx/int8", exported)
    before = contents(exported.parent)
    monkeypatch.setattr(files, "_read", end)
    for target in (exported, exported.parent / "new"):
        with pytest.raises(type(stop)):
            add_groups(exported, target, {"onnx/int8": folder}, overwrite=True)
    assert contents(exported.parent) == before
    assert not (exported.parent / "new").exists()


@pytest.mark.parametrize("inside", ["new", "onnx", "a/b/new"])
def test_a_bundle_does_not_go_into_its_source(bundle, inside):
    before = sorted(bundle.rglob("*"))
    for act in (
        lambda: add_groups(bundle, bundle / inside, {}),
        lambda: check_output(bundle / inside, source=bundle),
        lambda: check_output(bundle / ".." / bundle.name / inside, source=bundle),
    ):
        with pytest.raises(errors.BundlePathError, match="lie one in the other"):
            act()
    assert sorted(bundle.rglob("*")) == before
    read_bundle(bundle)


def test_a_bundle_does_not_replace_a_folder_that_holds_its_source(bundle):
    # A damaged one, which `overwrite` may replace.
    (bundle.parent / "manifest.json").write_text("{}")
    with pytest.raises(errors.BundlePathError, match="lie one in the other"):
        add_groups(bundle, bundle.parent, {}, overwrite=True)
    read_bundle(bundle)


def test_what_another_added_meanwhile_is_not_lost(bundle, make_group):
    began = read_bundle(bundle)
    add_groups(bundle, bundle, {"onnx/fp16": make_group("onnx/fp16", bundle)}, overwrite=True)
    groups = {"onnx/fp32": make_group("onnx/fp32", bundle)}
    with pytest.raises(errors.BundleChangedError, match="onnx/fp32"):
        add_groups(bundle, bundle, groups, based_on=began.manifest, overwrite=True)
    assert read_bundle(bundle).onnx_precisions == ("fp16",)
    now = read_bundle(bundle).manifest
    add_groups(bundle, bundle, groups, based_on=now, overwrite=True)
    assert read_bundle(bundle).onnx_precisions == ("fp32", "fp16")


def test_writers_of_one_bundle_take_turns(bundle, make_group):
    precisions = ("fp32", "fp16", "bf16", "int8")
    groups = {name: make_group(f"onnx/{name}", bundle) for name in precisions}
    failures = []

    def add(name: str) -> None:
        for _ in range(50):
            try:
                began = read_bundle(bundle).manifest
                add_groups(
                    bundle, bundle, {f"onnx/{name}": groups[name]}, based_on=began, overwrite=True
                )
                return
            # A reader may meet an exchange in the middle.
            except errors.BundleError:
                continue
        failures.append(name)

    threads = [threading.Thread(target=add, args=(name,)) for name in precisions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert set(read_bundle(bundle).onnx_precisions) == set(precisions)
