"""Hostile records of precisions: what does not add up is refused before it chooses anything."""

from __future__ import annotations

import pytest
from damage import change, change_json, change_manifest

from tokenfuse_sdk import errors
from tokenfuse_sdk.bundle import read_bundle, record_precisions

NAME = "precisions.json"


@pytest.fixture
def measured(bundle, record_of):
    """A bundle with a record."""
    record_precisions(bundle, record_of(read_bundle(bundle), bf16=2_000, int8=1_995))
    return bundle


def refused(bundle, error=errors.BundleFormatError, match=r"precisions\.json") -> None:
    with pytest.raises(error, match=match):
        read_bundle(bundle)


def test_an_honest_record_is_read(measured):
    assert read_bundle(measured).precisions.passes("int8")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("weights_sha256", "A" * 64),
        ("weights_sha256", None),
        ("isa", ""),
        ("isa", "avx2\x1b[2J"),
        ("isa", "x" * 65),
        ("isa", 7),
        ("asked", {}),
        ("asked", []),
        ("required_per_mille", 995.0),
        ("required_per_mille", "995"),
        ("required_per_mille", True),
        ("required_per_mille", 899),
        ("required_per_mille", 1001),
        ("precisions", {}),
        ("precisions", []),
        ("precisions", {"int8": [{"token_budget": 2, "same": 1, "right": 1}]}),
        ("precisions", {"fp32": []}),
        ("precisions", {"fp32": {}}),
        ("precisions", {"fp32": [7]}),
        ("code", "x"),
    ],
)
def test_values_of_a_record_out_of_range(measured, key, value):
    change_json(measured, NAME, lambda r: r.update({key: value}))
    refused(measured)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data", "a b"),
        ("data", None),
        ("split", "\u202etest"),
        ("seed", -1),
        ("seed", 1 << 63),
        ("num_questions", 199),
        ("num_questions", 1.0e4),
        ("num_questions", 10**9),
        ("more", 1),
    ],
)
def test_questions_of_a_record_that_cannot_be(measured, key, value):
    change_json(measured, NAME, lambda r: r["asked"].update({key: value}))
    refused(measured)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("same", 2_001),
        ("same", -1),
        ("same", "2000"),
        ("same", None),
        ("right", 2_001),
        ("right", True),
        ("token_budget", 3),
        ("token_budget", 0),
        ("extra", 1),
    ],
)
def test_counts_of_a_record_that_do_not_add_up(measured, key, value):
    change_json(measured, NAME, lambda r: r["precisions"]["int8"][0].update({key: value}))
    refused(measured)


def test_a_reference_that_differs_from_itself(measured):
    change_json(measured, NAME, lambda r: r["precisions"]["fp32"][1].update(same=1_999))
    refused(measured, match="differs from itself")


def test_a_precision_that_nobody_knows(measured):
    def edit(record):
        record["precisions"]["int4"] = record["precisions"]["int8"]

    change_json(measured, NAME, edit)
    refused(measured, match="int4")


def test_budgets_that_are_not_all_measured(measured):
    change_json(measured, NAME, lambda r: r["precisions"]["int8"].pop())
    refused(measured, match=r"int8 was measured at the budgets \[2, 4\]")


@pytest.mark.parametrize("counts", [[], {}, None, [None]])
def test_a_precision_without_counts(measured, counts):
    change_json(measured, NAME, lambda r: r["precisions"].update(int8=counts))
    refused(measured, match="int8")


def test_a_record_of_other_weights(measured):
    change_json(measured, NAME, lambda r: r.update(weights_sha256="0" * 64))
    refused(measured, errors.BundleHashError, "other weights")


@pytest.mark.parametrize("version", [0, 2, "1", None, True])
def test_an_unknown_version_of_a_record(measured, version):
    change_json(measured, NAME, lambda r: r.update(format_version=version))
    refused(measured, errors.BundleVersionError)


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{", b"\xff\xfe", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"[" * 60_000],
    ids=["empty", "list", "open", "utf16", "nan", "twice", "deep"],
)
def test_a_record_that_is_no_json(measured, data):
    change(measured, NAME, data)
    with pytest.raises((errors.BundleFormatError, errors.BundleVersionError)):
        read_bundle(measured)


def test_a_record_over_its_cap(measured):
    data = (measured / NAME).read_bytes()
    change(measured, NAME, data + b" " * (1 << 16))
    refused(measured, errors.BundleSizeError, "at most 65536")


def test_a_record_that_nobody_listed_and_one_that_is_not_there(measured):
    entry = {}
    change_manifest(measured, lambda m: entry.update(m["files"].pop(NAME)))
    refused(measured, errors.BundlePathError, "not listed")
    change_manifest(measured, lambda m: m["files"].update({NAME: entry}))
    (measured / NAME).unlink()
    refused(measured, errors.BundleMissingFileError)


def test_a_record_that_was_changed(measured):
    data = (measured / NAME).read_bytes()
    (measured / NAME).write_bytes(data.replace(b"1995", b"1994"))
    refused(measured, errors.BundleHashError, "sha256")
