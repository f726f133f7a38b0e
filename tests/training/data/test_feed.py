"""What a step holds depends on seed and plan alone: not on workers, ranks, or a pause."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import multiprocessing

import pytest
import torch
from toy_data import SIZE, Numbers, Other, Say, Stratified, read, stage_of

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_training.data.feed import Feed
from tokenfuse_training.data.plan import Planner
from tokenfuse_training.errors import DataError


@pytest.fixture(scope="module")
def mixture(shards):
    """Two tasks on records by number and one on shards, with a bad record in each."""
    tasks = {"say": Say(), "other": Other(), "web": Say()}
    stage = stage_of({"say": "numbers", "other": "numbers", "web": "shards"})
    return stage, tasks, {"numbers": Numbers(31, bad=(4,)), "shards": shards}


LENIENT = {"numbers": 0.5, "shards": 0.5}


def contents(batch):
    """What each picture of a batch came with, in no order: independent of padding."""
    found = []
    for b, key in enumerate(batch.keys):
        texts = []
        for q in torch.nonzero(batch.image_index_Q == b).flatten().tolist():
            prompt = [i for i in batch.text_QL[q].tolist() if i]
            targets = [
                (
                    [i for i in batch.target_RA[r].tolist() if i],
                    batch.weight_R[r].item(),
                    batch.terms[batch.term_R[r]],
                )
                for r in torch.nonzero(batch.text_index_R == q).flatten().tolist()
            ]
            texts.append((prompt, targets, batch.kinds[batch.kind_Q[q]]))
        picture = batch.image_u8_BHW3[b].numpy().tobytes()
        found.append(repr((key, batch.task_B[b].item(), picture, texts)))
    return found


def assert_same_batches(a, b):
    assert [plan for plan, _ in a] == [plan for plan, _ in b]
    for (_, one), (_, two) in zip(a, b, strict=True):
        for field in dataclasses.fields(one):
            x, y = getattr(one, field.name), getattr(two, field.name)
            same = torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
            assert same, field.name


@pytest.fixture(scope="module")
def alone(mixture, coder):
    """Twelve steps of one rank without workers."""
    return read(mixture, coder, num_steps=12, max_bad_shares=LENIENT)


def test_workers_make_the_same_batches_and_end_with_the_feed(mixture, coder, alone):
    before = set(multiprocessing.active_children())
    by_workers = read(mixture, coder, num_steps=12, num_workers=2, max_bad_shares=LENIENT)
    assert_same_batches(alone[0], by_workers[0])
    assert alone[1] == by_workers[1]
    assert set(multiprocessing.active_children()) == before


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_out_the_steps_of_one(mixture, coder, alone, world_size):
    ranks = [
        read(
            mixture, coder, num_steps=12, rank=rank, world_size=world_size, max_bad_shares=LENIENT
        )[0]
        for rank in range(world_size)
    ]
    for step, (plan, batch) in enumerate(alone[0]):
        assert all(rank[step][0] == plan for rank in ranks)
        parts = [contents(rank[step][1]) for rank in ranks]
        assert sorted(itertools.chain(*parts)) == sorted(contents(batch))
        assert max(map(len, parts)) - min(map(len, parts)) <= 3 + 1
        bad = collections.Counter()
        for rank in ranks:
            bad.update(rank[step][1].num_bad)
        assert dict(bad) == batch.num_bad


@pytest.mark.parametrize(("stop", "num_workers"), [(1, 0), (7, 0), (5, 1)])
def test_a_run_goes_on_in_mid_epoch(mixture, coder, alone, stop, num_workers):
    begun, state = read(
        mixture, coder, num_steps=stop, num_workers=num_workers, max_bad_shares=LENIENT
    )
    rest, end = read(mixture, coder, num_steps=12 - stop, state=state, max_bad_shares=LENIENT)
    assert_same_batches(alone[0], begun + rest)
    assert end == alone[1]


def test_it_goes_on_with_another_number_of_ranks(mixture, coder, alone):
    _, state = read(mixture, coder, num_steps=5, rank=1, world_size=2, max_bad_shares=LENIENT)
    rest, _ = read(mixture, coder, num_steps=7, state=state, max_bad_shares=LENIENT)
    assert_same_batches(alone[0][5:], rest)


@pytest.mark.parametrize("world_size", [1, 2])
def test_an_epoch_has_every_record_once(coder, world_size):
    parts = (stage_of({"say": "numbers"}, batch_size=10), {"say": Say()}, {"numbers": Numbers(50)})
    seen = collections.Counter()
    for rank in range(world_size):
        steps, _ = read(parts, coder, num_steps=15, rank=rank, world_size=world_size)
        for step, (_, batch) in enumerate(steps):
            seen.update((step // 5, key) for key in batch.keys)
    assert len(seen) == 3 * 50
    assert set(seen.values()) == {1}


def test_a_feed_ends_with_its_stage(coder):
    parts = (stage_of({"say": "numbers"}, steps=4), {"say": Say()}, {"numbers": Numbers(50)})
    found, state = read(parts, coder, num_steps=99)
    assert [plan.step for plan, _ in found] == [100, 101, 102, 103]
    assert read(parts, coder, num_steps=99, state=state)[0] == []


def test_a_step_too_far_ahead_is_refused(coder):
    parts = (stage_of({"say": "numbers"}), {"say": Say()}, {"numbers": Numbers(50)})
    planner = Planner(["say"], Stratified(1), 12, ahead=2)
    with Feed(*parts, coder, PreprocessConfig(image_size=SIZE), seed=0, planner=planner) as feed:
        next(feed), next(feed)
        with pytest.raises(AssertionError, match="observed"):
            next(feed)


def test_streams_that_ranks_cannot_share_are_refused(mixture, coder):
    with pytest.raises(ConfigError, match=r"num_streams=6 cannot be shared by 4 ranks"):
        read(mixture, coder, num_steps=1, world_size=4)


def test_an_empty_data_set_is_refused(coder):
    with pytest.raises(DataError, match="no records"):
        read((stage_of({"say": "n"}), {"say": Say()}, {"n": Numbers(0)}), coder, num_steps=1)
