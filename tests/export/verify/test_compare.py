"""Figures of made traces: answers, ties, and what is not finite."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tokenfuse_export.verify.bounds import Bound
from tokenfuse_export.verify.compare import compare
from tokenfuse_export.verify.inputs import Question
from tokenfuse_export.verify.trace import STAGES, Trace, Wanted

BOUND = Bound(share=0.0025)  # 1% at the worst
VOCAB = 5


def log_probs_of(logits_AV, ids):
    # Small numbers: no need to take the largest away.
    shares = np.exp(logits_AV.astype(np.float64))
    return np.log(shares[np.arange(len(ids)), ids] / shares.sum(axis=1)).astype(np.float32)


@pytest.fixture
def wanted():
    """Answers 2, 3, 1; sure of the first and the last, but of the second by 0.001 alone."""
    rng = np.random.default_rng(3)
    logits = np.zeros((3, VOCAB), np.float32)
    logits[[0, 1, 2], [2, 3, 1]] = 2.0, 1.0, 2.0
    logits[1, 4] = 0.999
    ids = np.array([2, 3, 1], np.int32)
    sizes = np.sqrt(np.mean(logits.astype(np.float64) ** 2, axis=1))
    trace = Trace(
        stages={name: rng.standard_normal((4, 6)).astype(np.float32) for name in STAGES},
        ids=ids,
        log_probs=log_probs_of(logits, ids),
        logits=logits,
    )
    question = Question(image_HW3=np.zeros((1, 1, 3), np.float32), text_ids=ids, answer_ids=ids)
    return Wanted(
        question=question,
        token_budget=4,
        trace=trace,
        margins=np.array([2.0, 0.001, 2.0]),
        sizes=sizes,
    )


def changed(wanted, **fields):
    return compare([(dataclasses.replace(wanted.trace, **fields), wanted)], BOUND)


def answering(wanted, *ids, second=0.0):
    """Ids, of the reference's logits; those of the second step with `second` added by turns."""
    logits = np.resize(wanted.trace.logits, (len(ids), VOCAB))
    logits[1:2] += second * np.array([0, 1, -1, -1, 1], np.float32)
    return changed(
        wanted,
        ids=np.array(ids, np.int32),
        logits=logits,
        log_probs=log_probs_of(logits, np.array(ids)),
    )


def test_the_same_is_without_fault(wanted):
    found = compare([(wanted.trace, wanted)] * 2, BOUND)
    assert found.faults == ()
    assert (found.answers.same, found.answers.ties, found.answers.total) == (2, 0, 2)
    assert all(error.max_abs == 0 for error in found.stages.values())


@pytest.mark.parametrize("ids", [(2, 4, 1), (2, 4)])
def test_another_id_where_the_reference_was_not_sure_is_a_tie(wanted, ids):
    # 0.001 between the two; the errors turn them.
    found = answering(wanted, *ids, second=0.003)
    assert found.faults == ()
    assert (found.answers.same, found.answers.ties, found.answers.unsure) == (0, 1, 1)


@pytest.mark.parametrize("second", [0.0, 0.0001])
def test_an_id_that_its_errors_do_not_explain_is_a_fault(wanted, second):
    """Within the bound of the precision, but this runtime is far better than that."""
    found = answering(wanted, 2, 4, 1, second=second)
    assert found.faults == ("another answer at budget 4, where the reference was sure",)


def test_errors_of_the_two_best_alone_are_a_fault(wanted):
    """What is seldom off, and then turns an answer, is no noise."""
    logits = np.zeros((3, 400), np.float32)
    logits[:, :VOCAB] = wanted.trace.logits
    size = np.sqrt(np.mean(logits.astype(np.float64) ** 2, axis=1))
    want = dataclasses.replace(
        wanted, trace=dataclasses.replace(wanted.trace, logits=logits), sizes=size
    )
    logits = logits.copy()
    logits[1, 4] += 0.0012
    ids = np.array([2, 4, 1], np.int32)
    fields = {"ids": ids, "logits": logits, "log_probs": log_probs_of(logits, ids)}
    trace = dataclasses.replace(want.trace, **fields)
    found = compare([(trace, want)], Bound(share=0.1))
    assert found.faults == ("another answer at budget 4, where the reference was sure",)


def test_a_model_that_is_sure_may_not_have_ties(wanted):
    """Errors as large as the precision allows would explain any; r is what they usually are."""
    wanted = dataclasses.replace(wanted, margins=np.array([2.0, 0.2, 2.0]))
    logits = wanted.trace.logits.copy()
    logits[1] += 0.1 * np.array([0, 1, -1, -1, 1], np.float32)
    ids = np.array([2, 4, 1], np.int32)
    fields = {"ids": ids, "logits": logits, "log_probs": log_probs_of(logits, ids)}
    trace = dataclasses.replace(wanted.trace, **fields)
    found = compare([(trace, wanted)] * 2, Bound(share=0.2))
    assert found.faults == ("2 other answers of 2, though the reference was unsure of 0 at most",)
    assert (found.answers.ties, found.answers.unsure) == (2, 0)


def test_logits_that_are_all_zero(wanted):
    """They have no size: the same is the same, and anything else is a fault."""
    stages = wanted.trace.stages | {"logits": np.zeros((3, VOCAB), np.float32)}
    zero = np.zeros((3, VOCAB), np.float32)
    ids = np.zeros(3, np.int32)
    trace = dataclasses.replace(
        wanted.trace, stages=stages, ids=ids, logits=zero, log_probs=log_probs_of(zero, ids)
    )
    want = dataclasses.replace(wanted, trace=trace, margins=np.zeros(3), sizes=np.zeros(3))
    found = compare([(trace, want)], BOUND)
    assert found.faults == ()
    assert found.stages["logits"].cosine == 1
    other = dataclasses.replace(trace, stages=stages | {"logits": zero + np.float32(1e-9)})
    found = compare([(other, want)], BOUND)
    assert len(found.faults) == 2
    assert "logits at budget 4 are off by" in found.faults[0]
    assert found.to_dict()["stages"]["logits"]["max_rel"] is None


def test_a_reference_that_is_not_finite_is_a_fault(wanted):
    stages = {name: array.copy() for name, array in wanted.trace.stages.items()}
    stages["logits"][0, 0] = np.nan
    want = dataclasses.replace(wanted, trace=dataclasses.replace(wanted.trace, stages=stages))
    found = compare([(wanted.trace, want)], BOUND)
    assert found.faults == ("logits at budget 4 have NaN or infinity",)


@pytest.mark.parametrize("ids", [(3, 3, 1), (2, 3, 4), (2, 3), (2,), (2, 3, 1, 1)])
def test_another_answer_is_a_fault(wanted, ids):
    found = answering(wanted, *ids)
    assert found.faults == ("another answer at budget 4, where the reference was sure",)
    assert (found.answers.same, found.answers.ties) == (0, 0)


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_a_fault(wanted, name, value):
    stages = {one: array.copy() for one, array in wanted.trace.stages.items()}
    stages[name][0, 0] = value
    found = changed(wanted, stages=stages)
    assert found.faults == (f"{name} at budget 4 have NaN or infinity",)
    assert found.to_dict()["stages"][name]["max_abs"] is None


def test_one_element_or_all_of_them_may_be_off(wanted):
    want = wanted.trace.stages["fused_tokens"]
    size = np.sqrt(np.mean(want.astype(np.float64) ** 2))
    one = want.copy()
    one[1, 2] += 0.011 * size
    found = changed(wanted, stages=wanted.trace.stages | {"fused_tokens": one})
    assert len(found.faults) == 1
    assert "fused_tokens at budget 4 are off by" in found.faults[0]
    assert found.stages["fused_tokens"].max_rel == pytest.approx(0.011, rel=1e-3)
    # Within the bound of each, but beyond that of all.
    signs = np.where(np.arange(want.size).reshape(want.shape) % 2, 1, -1)
    all_off = (want + 0.009 * size * signs).astype(np.float32)
    found = changed(wanted, stages=wanted.trace.stages | {"fused_tokens": all_off})
    assert len(found.faults) == 1
    assert "have a cosine of" in found.faults[0]


def test_another_shape_is_a_fault(wanted):
    stages = wanted.trace.stages | {"image_tokens": wanted.trace.stages["image_tokens"][:3]}
    found = changed(wanted, stages=stages)
    assert found.faults == ("image_tokens at budget 4 have the shape [3, 6], not [4, 6]",)


@pytest.mark.parametrize("value", [-1.0, np.nan])
def test_a_cache_that_changes_log_probabilities_is_a_fault(wanted, value):
    log_probs = wanted.trace.log_probs.copy()
    log_probs[1] = value
    found = changed(wanted, log_probs=log_probs)
    assert len(found.faults) == 1
    assert "the cache at budget 4 changes log-probabilities" in found.faults[0]
