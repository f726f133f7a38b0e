"""The precision that is chosen: the fastest that passes the gate, and the reason that is given."""

from __future__ import annotations

import dataclasses
import math

import pytest

import tokenfuse_sdk as tf
from tokenfuse_sdk.bundle import read_bundle, record_precisions
from tokenfuse_sdk.runtime import choose_precision, native_cpu, place
from tokenfuse_sdk.runtime.fastest import MAX_SHARE, fastest, linear_times

FASTER = {"fp32": 1.0, "bf16": 0.7, "int8": 0.4}


@pytest.fixture(autouse=True)
def _plain_kernels(monkeypatch):
    monkeypatch.setenv("TOKENFUSE_FORCE_ISA", "scalar")


@pytest.fixture
def choose(bundle, record_of):
    """The placement for a precision asked for, counts of answers and times of linears."""
    read = read_bundle(bundle)

    def choose(asked=None, times=None, isa="scalar", **same):
        record = record_of(read, isa=isa, **same) if same else None

        def probe(config, precisions):
            assert times is not None, "nothing needs to be timed"
            assert config == read.config
            return {name: times[name] for name in precisions}

        return choose_precision(
            place("cpu", asked), dataclasses.replace(read, precisions=record), probe=probe
        )

    return choose


def test_without_a_record_it_is_fp32_and_nothing_is_timed(choose):
    chosen = choose()
    assert chosen.precision == "fp32"
    assert chosen.precision_reason == "auto: the bundle records no precisions, so fp32"


def test_the_fastest_that_passes(choose):
    chosen = choose(times=FASTER, bf16=2_000, int8=1_990)
    assert chosen.precision == "int8"
    assert chosen.precision_reason == (
        "auto: int8 answers like fp32 in 1,990 of 2,000 scenes questions (needs 99.5%) and its "
        "linears take 0.40 of fp32's time here; bf16 takes 0.70 of fp32's time here"
    )


def test_the_fastest_is_refused_when_it_answers_differently(choose):
    chosen = choose(times=FASTER, bf16=2_000, int8=1_989)
    assert chosen.precision == "bf16"
    assert (
        "int8 does not pass the gate: it answers like fp32 in 1,989 of 2,000 scenes questions "
        "(needs 99.5%)"
    ) in chosen.precision_reason


def test_a_slower_one_is_refused_however_it_answers(choose):
    chosen = choose(times={"fp32": 1.0, "bf16": 1.04, "int8": 2.5}, bf16=2_000, int8=2_000)
    assert chosen.precision == "fp32"
    assert "int8 is too slow: 2.50 of fp32's time here" in chosen.precision_reason
    assert "bf16 is too slow: 1.04 of fp32's time here" in chosen.precision_reason


def test_nothing_is_timed_where_fp32_alone_passes(choose):
    chosen = choose(bf16=1_000, int8=1_000)
    assert chosen.precision == "fp32"
    assert "fp32 alone passes the gate; bf16 does not pass" in chosen.precision_reason


def test_what_was_not_measured_is_not_chosen(choose):
    chosen = choose(times=FASTER, bf16=2_000)
    assert chosen.precision == "bf16"
    assert "int8 may answer unlike fp32: it was not measured" in chosen.precision_reason


def test_bf16_of_other_kernels_is_not_that_which_rounds_activations(choose, monkeypatch):
    monkeypatch.setattr(native_cpu, "chosen_isa", lambda: "avx512_bf16")
    assert choose(times=FASTER, isa="avx2", bf16=2_000, int8=1_000).precision == "fp32"
    assert choose(times=FASTER, isa="avx512_bf16", bf16=2_000, int8=1_000).precision == "bf16"
    # int8 is the same sums on all.
    assert choose(times=FASTER, isa="avx2", bf16=2_000, int8=2_000).precision == "int8"
    monkeypatch.setattr(native_cpu, "chosen_isa", lambda: "avx2")
    assert choose(times=FASTER, isa="avx512_bf16", bf16=2_000, int8=1_000).precision == "bf16"


@pytest.mark.parametrize(
    ("asked", "same", "reason"),
    [
        ("fp32", {}, "asked for"),
        ("int8", {}, "asked for; may answer unlike fp32: the bundle records no precisions"),
        ("int8", {"bf16": 2_000}, "asked for; may answer unlike fp32: it was not measured"),
        ("int8", {"int8": 1_995}, "asked for; answers like fp32 in 1,995 of 2,000 scenes"),
        ("int8", {"int8": 100}, "asked for; does not pass the gate: it answers like fp32 in 100"),
    ],
)
def test_what_was_asked_for_stays(choose, asked, same, reason):
    chosen = choose(asked, **same)
    assert chosen.precision == asked
    assert chosen.precision_reason.startswith(reason)


@pytest.mark.parametrize(
    ("times", "best"),
    [
        ({"fp32": 1.0}, "fp32"),
        ({"fp32": 1.0, "int8": MAX_SHARE}, "int8"),
        ({"fp32": 1.0, "int8": math.nextafter(MAX_SHARE, 1)}, "fp32"),
        # int8 is the fastest, but not by enough to leave bf16 for it.
        ({"fp32": 1.0, "bf16": 0.5, "int8": 0.45}, "bf16"),
        ({"fp32": 1.0, "bf16": 0.9, "int8": 0.75}, "int8"),
        ({"fp32": 1.0, "bf16": 0.5, "int8": math.inf}, "bf16"),
        ({"fp32": 1.0, "int8": math.nan}, "fp32"),
    ],
)
def test_a_less_exact_one_must_be_clearly_faster(times, best):
    assert fastest(times) == best


@pytest.mark.parametrize("precisions", [("fp32", "bf16", "int8"), ("fp32", "int8")])
def test_linears_of_a_model_are_timed_in_each_precision(bundle, precisions):
    times = linear_times(read_bundle(bundle).config, precisions)
    assert tuple(times) == precisions
    assert all(math.isfinite(seconds) and seconds > 0 for seconds in times.values())


def test_a_model_says_which_precision_and_why(bundle, record_of, monkeypatch):
    record_precisions(bundle, record_of(read_bundle(bundle), bf16=1_000, int8=2_000))
    for times, chosen in ((FASTER, "int8"), (dict.fromkeys(FASTER, 1.0), "fp32")):
        monkeypatch.setattr(
            "tokenfuse_sdk.model.loading.choose_precision",
            lambda placement, read, times=times: choose_precision(
                placement, read, probe=lambda config, names: {n: times[n] for n in names}
            ),
        )
        with tf.load(bundle) as model:
            assert model.precision == model.info.precision == chosen
            assert model._runtime.capabilities.precision == chosen
            assert model.info.precision_reason.startswith("auto: ")
            assert "1,000 of 2,000 scenes questions" in model.info.precision_reason
    with tf.load(bundle, precision="bf16") as model:
        assert model.precision == "bf16"
        assert "does not pass the gate" in model.info.precision_reason
