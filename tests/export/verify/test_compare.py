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
    """Answers 2, 3, 1; sure of the first and the last, but of the second by 0.005 alone."""
    rng = np.random.default_rng(3)
    logits = np.zeros((3, VOCAB), np.float32)
    logits[[0, 1, 2], [2, 3, 1]] = 2.0, 1.0, 2.0
    logits[1, 4] = 0.995
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
        margins=np.array([2.0, 0.005, 2.0]),
        sizes=sizes,
    )


def changed(wanted, **fields):
    return compare([(dataclasses.replace(wanted.trace, **fields), wanted)], BOUND)


def answering(wanted, *ids):
    logits = np.resize(wanted.trace.logits, (len(ids), VOCAB))
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
    found = answering(wanted, *ids)
    assert found.faults == ()
    assert (found.answers.same, found.answers.ties) == (0, 1)


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
