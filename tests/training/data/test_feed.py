"""What a step holds depends on seed and plan alone: not on workers, ranks, or a pause."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
import multiprocessing
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import torch
from toy_data import (
    SIZE,
    Dies,
    Fails,
    Hundreds,
    Numbers,
    Other,
    Say,
    Stratified,
    read,
    stage_of,
    write_shard,
)

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_training.data.coder import TextCoder
from tokenfuse_training.data.feed import Feed
from tokenfuse_training.data.plan import Planner
from tokenfuse_training.data.scenes.vocabulary import build_tokenizer
from tokenfuse_training.data.shards import WebDatasetSource
from tokenfuse_training.errors import DataError, TooManyBadRecordsError
from tokenfuse_training.tasks.make import make_task
from tokenfuse_training.train_config import StageSettings, TaskSettings, WebDatasetData


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    for i in range(7):
        write_shard(folder / f"cc-{i:03d}.tar", range(100 + 9 * i, 100 + 9 * (i + 1)))
    settings = WebDatasetData(
        root=str(folder), shards=("cc-{000..006}.tar",), num_streams=6, shuffle=5
    )
    return WebDatasetSource(settings)


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


def test_too_many_bad_records_are_an_error_that_names_them(coder):
    parts = (
        stage_of({"say": "numbers"}, batch_size=10),
        {"say": Say()},
        {"numbers": Numbers(100, bad=(8, 17, 56))},
    )
    # 3 of 100 in every epoch: within 3%, and within what chance adds to 2% of the first few.
    for share in (0.03, 0.02):
        found, _ = read(parts, coder, num_steps=40, max_bad_shares={"numbers": share})
        assert sum(batch.num_bad["say"] for _, batch in found) == 4 * 3
        assert all(len(batch.keys) == 10 - batch.num_bad["say"] for _, batch in found)
    # 3 are more than 0.1 + 4 * sqrt(0.1) of a hundred; where none may be bad, one is too many.
    for share, said in ((0.001, "0.10%"), (0.0, "0.00%")):
        with pytest.raises(TooManyBadRecordsError, match="3 of 100 records") as caught:
            read(parts, coder, num_steps=40, max_bad_shares={"numbers": share})
        for words in ("numbers", said, "number 8 is bad", "number 56 is bad", "max_bad_share"):
            assert words in str(caught.value)


@pytest.mark.parametrize(("batch_size", "steps_until_error"), [(8, 1), (4, 2)])
def test_a_data_set_of_which_nothing_can_be_used_is_told_soon(coder, batch_size, steps_until_error):
    nothing = Numbers(100, bad=tuple(range(100)))
    parts = (stage_of({"say": "n"}, batch_size=batch_size), {"say": Say()}, {"n": nothing})
    if steps_until_error > 1:
        found, _ = read(parts, coder, num_steps=steps_until_error - 1)
        assert all(float(batch.weight_R.sum()) == 0 for _, batch in found)
    with pytest.raises(TooManyBadRecordsError, match="number"):
        read(parts, coder, num_steps=steps_until_error)


def test_streams_that_ranks_cannot_share_are_refused(mixture, coder):
    with pytest.raises(ConfigError, match=r"num_streams=6 cannot be shared by 4 ranks"):
        read(mixture, coder, num_steps=1, world_size=4)


def test_an_empty_data_set_is_refused(coder):
    with pytest.raises(DataError, match="no records"):
        read((stage_of({"say": "n"}), {"say": Say()}, {"n": Numbers(0)}), coder, num_steps=1)


@pytest.mark.parametrize(
    ("source", "error", "says"),
    [(Dies, DataError, "exit code -9"), (Fails, RuntimeError, "ZeroDivisionError")],
)
def test_a_worker_that_fails_is_an_error_not_a_wait(coder, source, error, says):
    with pytest.raises(error, match=says):
        read(
            (stage_of({"say": "n"}), {"say": Say()}, {"n": source(50)}),
            coder,
            num_steps=1,
            num_workers=1,
        )


def test_the_tasks_of_pretraining_run_on_shards_and_on_records_by_number(shards):
    """Every task makes all of its texts: no record is bad, and what they ask is of the records."""
    layout = json.loads(build_tokenizer().to_str())
    vocabulary = layout["model"]["vocab"]
    vocabulary |= {word: len(vocabulary) + i for i, word in enumerate(("fill", "<mask>"))}
    coder = TextCoder(
        json.dumps(layout).encode(), vocab_size=256, max_text_tokens=24, max_answer_tokens=8
    )
    kinds = ("caption", "complete", "match", "fill")
    settings = {
        f"{task}-{name}": TaskSettings(task=task, data=name, texts=2)
        for task in kinds
        for name in ("numbers", "shards")
    }
    stage = StageSettings(name="pretrain", steps=9, batch_size=24, tasks=settings)
    tasks = {name: make_task(one, coder) for name, one in settings.items()}
    found, _ = read((stage, tasks, {"numbers": Hundreds(31), "shards": shards}), coder, num_steps=9)
    assert sum(len(batch.keys) for _, batch in found) == 9 * 24
    asked = collections.Counter()
    for _, batch in found:
        for q, text in enumerate(batch.text_QL.tolist()):
            task = list(tasks)[batch.task_B[batch.image_index_Q[q]]]
            asked[task] += 1
            assert coder.decode(text).startswith(task.split("-")[0])
    assert set(asked) == set(tasks)


KILLED = """
import multiprocessing, os, signal, sys
sys.path.append({here!r})
from toy_data import SIZE, Numbers, Say, Stratified, scenes_coder, stage_of
from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_training.data.feed import Feed
from tokenfuse_training.data.plan import Planner

if __name__ == "__main__":
    planner = Planner(["say"], Stratified(1), 12, ahead=9)
    parts = (stage_of({{"say": "n"}}), {{"say": Say()}}, {{"n": Numbers(50)}}, scenes_coder())
    feed = Feed(*parts, PreprocessConfig(image_size=SIZE), seed=0, planner=planner, num_workers=1)
    next(feed)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _runs(pid: int) -> bool:
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not pathlib.Path("/proc/self/stat").exists(), reason="needs /proc")
def test_workers_end_where_the_training_process_was_killed(tmp_path):
    here = pathlib.Path(__file__).parent
    (tmp_path / "killed.py").write_text(KILLED.format(here=str(here)))
    done = subprocess.run([sys.executable, str(tmp_path / "killed.py")], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    pids = list(map(int, done.stdout.split()))
    assert len(pids) == 1
    for _ in range(600):
        if not any(map(_runs, pids)):
            return
        time.sleep(0.1)
    raise AssertionError(f"workers {pids} are still there")
