"""precisions.json: what it says, what it refuses, and its way into a bundle."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import stat
import tempfile

import pytest

from tokenfuse_sdk import errors
from tokenfuse_sdk.bundle import (
    PrecisionRecord,
    check_record,
    read_bundle,
    record_precisions,
    rewrite,
    write_bundle,
)
from tokenfuse_sdk.bundle.files import copy_file
from tokenfuse_sdk.runtime import PRECISIONS
from tokenfuse_sdk.shipped import find_bundle


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def record(bundle, record_of):
    return record_of(read_bundle(bundle), bf16=1_990, int8=1_989)


def test_a_record_reads_back(record):
    data = json.dumps(record.to_dict()).encode()
    assert PrecisionRecord.from_json(data) == record


def test_the_gate_opens_at_the_required_share(record):
    # 99.5% of 2,000 are 1,990.
    assert record.passes("fp32")
    assert record.passes("bf16")
    assert not record.passes("int8")
    assert not dataclasses.replace(record, required_per_mille=996).passes("bf16")
    assert dataclasses.replace(record, required_per_mille=994).passes("int8")


def test_what_was_not_measured_does_not_pass(record):
    counts = {"fp32": record.counts["fp32"]}
    assert not dataclasses.replace(record, counts=counts).passes("int8")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_precision_without_counts_is_refused(record, precision):
    with pytest.raises(errors.BundleFormatError, match=f"{precision} has no counts"):
        dataclasses.replace(record, counts={**record.counts, precision: ()})


def test_the_worst_budget_decides(record):
    first, *others = record.counts["bf16"]
    worse = dataclasses.replace(first, same=1_500)
    record = dataclasses.replace(record, counts={**record.counts, "bf16": (worse, *others)})
    assert record.least_same("bf16") == 1_500
    assert not record.passes("bf16")


def test_a_record_joins_a_bundle_and_nothing_else_changes(bundle, record):
    before = contents(bundle)
    assert read_bundle(bundle).precisions is None
    record_precisions(bundle, record)
    after = contents(bundle)
    assert read_bundle(bundle).precisions == record
    assert set(after) - set(before) == {"precisions.json"}
    assert [name for name in before if after[name] != before[name]] == ["manifest.json"]
    entry = json.loads(after["manifest.json"])["files"].pop("precisions.json")
    data = after["precisions.json"]
    assert entry == {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert list(bundle.parent.iterdir()) == [bundle]


def test_a_record_is_replaced_when_asked_alone(bundle, record):
    record_precisions(bundle, record)
    before = contents(bundle)
    other = dataclasses.replace(record, seed=4)
    for call in (lambda: record_precisions(bundle, other), lambda: check_record(bundle)):
        with pytest.raises(errors.BundleExistsError, match="overwrite=True"):
            call()
    assert contents(bundle) == before
    record_precisions(bundle, other, overwrite=True)
    assert read_bundle(bundle).precisions == other


@pytest.mark.parametrize("path", [".", "../random-small"])
def test_the_folder_that_one_stands_in(bundle, record, monkeypatch, path):
    monkeypatch.chdir(bundle)
    record_precisions(path, record)
    monkeypatch.chdir(bundle.parent)
    assert read_bundle(bundle).precisions == record
    assert list(bundle.parent.iterdir()) == [bundle]


def test_a_link_stays_refused(bundle, record, monkeypatch):
    (bundle.parent / "link").symlink_to(bundle)
    monkeypatch.chdir(bundle.parent)
    for path in ("link", "link/.", bundle / ".." / "link"):
        with pytest.raises(errors.BundleLinkError):
            record_precisions(path, record)
    assert read_bundle(bundle).precisions is None


def test_a_folder_that_cannot_be_written_is_found_before_the_work(bundle, record, monkeypatch):
    before = contents(bundle)
    if os.geteuid() == 0:  # It writes everywhere.

        def fail(*, prefix, dir):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), f"{dir}/{prefix}")

        monkeypatch.setattr(tempfile, "mkdtemp", fail)
    bundle.parent.chmod(0o500)
    try:
        for call in (lambda: check_record(bundle), lambda: record_precisions(bundle, record)):
            with pytest.raises(errors.BundlePathError, match="copy the bundle") as caught:
                call()
            assert f"{bundle.parent} cannot be written (Permission denied)" in str(caught.value)
    finally:
        bundle.parent.chmod(0o700)
    assert contents(bundle) == before


def test_permissions_stay(bundle, record):
    modes = {"README.md": 0o600, "manifest.json": 0o640, "model.safetensors": 0o400}
    for name, mode in modes.items():
        (bundle / name).chmod(mode)
    bundle.chmod(0o500)
    record_precisions(bundle, record)
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o500
    for name, mode in (modes | {"precisions.json": 0o640}).items():
        assert stat.S_IMODE((bundle / name).stat().st_mode) == mode, name
    # The old folder is gone, though nothing could be written in it.
    assert list(bundle.parent.iterdir()) == [bundle]
    bundle.chmod(0o700)


def test_a_record_of_another_model_changes_nothing(bundle, record):
    before = contents(bundle)
    for bad, error in (
        (dataclasses.replace(record, weights_sha256="0" * 64), errors.BundleHashError),
        (
            dataclasses.replace(record, counts={"fp32": record.counts["fp32"][1:]}),
            errors.BundleFormatError,
        ),
    ):
        with pytest.raises(error, match=r"precisions\.json"):
            record_precisions(bundle, bad)
        assert contents(bundle) == before
        assert list(bundle.parent.iterdir()) == [bundle]


def test_a_copy_that_fails_leaves_the_bundle_as_it_was(bundle, record, monkeypatch):
    before = contents(bundle)

    def no_link(*arguments, **options):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def fail(source, target, **options):
        if source.name == "tokenizer.json":
            raise OSError("the disk is full")
        return copy_file(source, target, **options)

    monkeypatch.setattr(os, "link", no_link)
    monkeypatch.setattr(rewrite, "copy_file", fail)
    with pytest.raises(OSError, match="full"):
        record_precisions(bundle, record)
    assert contents(bundle) == before
    assert list(bundle.parent.iterdir()) == [bundle]
    # Where the system has no links, all is copied.
    monkeypatch.setattr(rewrite, "copy_file", copy_file)
    record_precisions(bundle, record)
    assert read_bundle(bundle).precisions == record
    assert {**contents(bundle), "manifest.json": b""} == {
        **before,
        "manifest.json": b"",
        "precisions.json": (bundle / "precisions.json").read_bytes(),
    }


def test_new_weights_leave_no_record_behind(bundle, bundle_parts, record):
    record_precisions(bundle, record)
    write_bundle(bundle, **bundle_parts, overwrite=True)
    assert read_bundle(bundle).precisions is None


def test_the_shipped_model_was_measured_in_every_precision():
    bundle = read_bundle(find_bundle("scenes-nano"))
    record = bundle.precisions
    assert record is not None
    assert tuple(record.counts) == PRECISIONS["cpu"]
    assert record.num_questions >= 2_000
    assert record.required_per_mille == 995
    assert all(record.passes(name) for name in record.counts)
    # An answer that is fp32's is right where fp32's is.
    for counts in record.counts.values():
        for count, exact in zip(counts, record.counts["fp32"], strict=True):
            assert abs(count.right - exact.right) <= record.num_questions - count.same
