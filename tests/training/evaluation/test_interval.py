"""Intervals of accuracies: against a plain bootstrap, by their coverage, and at the edges."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tokenfuse_training.evaluation import interval
from tokenfuse_training.evaluation.accuracy import Accuracy, ScoredQuestion
from tokenfuse_training.evaluation.interval import score_intervals


def _questions(seed, *, pictures=40, shared=0.0):
    """Scores of 1 to 6 questions a picture; with `shared`, all of one picture may go one way."""
    draw = np.random.default_rng(seed)
    rows = []
    for picture in range(pictures):
        own = draw.random()
        for _ in range(draw.integers(1, 7)):
            right = own < 0.6 if draw.random() < shared else draw.random() < 0.6
            rows.append((picture, "ab"[draw.integers(2)], float(right)))
    return rows


def _intervals(rows):
    pictures, families, scores = zip(*rows, strict=True)
    return score_intervals(
        np.array(scores),
        np.array(pictures),
        np.array(["ab".index(family) for family in families]),
        num_families=2,
    )


def _plain(rows, *, resamples=4000):
    """Pictures drawn one by one with all their questions, in Python."""
    draw = np.random.default_rng(5)
    by_picture = {}
    for picture, family, right in rows:
        by_picture.setdefault(picture, []).append((family, right))
    pictures = list(by_picture.values())
    means = {"a": [], "b": [], "all": []}
    for _ in range(resamples):
        chosen = draw.integers(len(pictures), size=len(pictures))
        drawn = [row for k in chosen for row in pictures[k]]
        for family in means:
            some = [right for own, right in drawn if family in (own, "all")]
            means[family].append(sum(some) / len(some))
    return {family: np.quantile(own, [0.025, 0.975]) for family, own in means.items()}


def test_as_a_plain_bootstrap():
    rows = _questions(1, shared=0.5)
    low, high = _intervals(rows)
    for index, ends in enumerate(_plain(rows).values()):
        # Two seeds of 2,000 and 4,000 draws; the mean of about 70 scores moves in steps of 0.01.
        assert low[index] == pytest.approx(ends[0], abs=0.025)
        assert high[index] == pytest.approx(ends[1], abs=0.025)


def test_the_same_every_time_and_for_any_numbers_of_pictures(monkeypatch):
    rows = _questions(2)
    low, high = _intervals(rows)
    renamed = [(1000 - 7 * picture, family, right) for picture, family, right in rows]
    for other in (_intervals(rows), _intervals(renamed[::-1])):
        # Renaming turns the order of pictures round, and so which ones are drawn.
        assert np.abs(other[0] - low).max() < 0.04
        assert np.abs(other[1] - high).max() < 0.04
    assert all((a == b).all() for a, b in zip(_intervals(rows), (low, high), strict=True))
    # In blocks of one draw or all at once.
    monkeypatch.setattr(interval, "_BLOCK", 1)
    assert np.allclose(_intervals(rows), (low, high), rtol=1e-12)


def test_ninety_five_of_a_hundred_hold_the_truth():
    """200 data sets with a true mean of 0.6, whose pictures are read well or ill as a whole."""
    held = alone = 0
    for seed in range(200):
        rows = _questions(seed, pictures=60, shared=0.8)
        low, high = _intervals(rows)
        held += low[-1] <= 0.6 <= high[-1]
        # As if every question had a picture of its own: too sure of itself.
        low, high = _intervals([(k, f, right) for k, (_, f, right) in enumerate(rows)])
        alone += low[-1] <= 0.6 <= high[-1]
    # 95% of 200 with a standard deviation of 3; a percentile bootstrap of 60 is a little short.
    assert 178 <= held <= 198
    assert alone < 170


def test_where_all_are_right_or_wrong():
    rows = [(picture, "a", 1.0) for picture in range(20) for _ in range(3)]
    rows += [(picture, "b", 0.0) for picture in range(5)]
    low, high = _intervals(rows)
    # By hand: 20 of 20 right with probability 0.025 at p = 0.025^(1/20) = 0.8316.
    assert low[0] == pytest.approx(0.8316, abs=1e-4)
    assert high[0] == 1.0
    assert low[1] == 0.0
    assert high[1] == pytest.approx(1 - 0.025**0.2)


def test_one_picture_and_none():
    low, high = _intervals([(3, "a", 1.0), (3, "a", 0.0)])
    assert low.tolist() == [0.0, 0.0, 0.0]
    assert high.tolist() == [1.0, 1.0, 1.0]
    nothing = np.zeros(0)
    low, high = score_intervals(nothing, nothing.astype(int), nothing.astype(int), num_families=0)
    assert (low.tolist(), high.tolist()) == ([0.0], [1.0])


def test_accuracy_of_questions():
    rows = [*_questions(3), (0, "b", 0.3)]
    accuracy = Accuracy.from_questions(
        16, [ScoredQuestion(picture=p, family=f, score=s) for p, f, s in rows]
    )
    scores = {family: [s for _, f, s in rows if f == family] for family in "ab"}
    assert accuracy.overall == pytest.approx(np.mean([s for _, _, s in rows]))
    assert accuracy.by_family == pytest.approx({f: np.mean(own) for f, own in scores.items()})
    assert accuracy.counts == {family: len(own) for family, own in scores.items()}
    assert accuracy.num_questions == len(rows)
    low, high = _intervals(rows)
    assert (accuracy.low, accuracy.high) == (low[-1], high[-1])
    assert accuracy.low < accuracy.overall < accuracy.high
    assert accuracy.low_by_family == dict(zip("ab", low, strict=False))
    assert accuracy.high_by_family == dict(zip("ab", high, strict=False))
    assert json.loads(json.dumps(accuracy.to_dict()))["num_questions"] == len(rows)


def test_accuracy_of_no_question():
    accuracy = Accuracy.from_questions(16, [])
    assert (accuracy.overall, accuracy.low, accuracy.high) == (0.0, 0.0, 1.0)
    assert accuracy.num_questions == 0
