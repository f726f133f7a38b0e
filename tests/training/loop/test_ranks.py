"""Several gloo processes against one: the same losses, weights and averages, to rounding.

`rank_program.py` does the work, in a loop of its own (`stand_in.py`, float64) and with the
Trainer. One rank takes none of the paths under test, so it is the truth for the others.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

PROGRAM = pathlib.Path(__file__).with_name("rank_program.py")
BF16 = {"do": "two_steps", "dtype": "float32", "precision": "bf16"}
RECOMPUTED = {"strategy": "fsdp", "activation_checkpointing": True}
# Neighbours with as many ranks run in the same processes. Shares are uneven everywhere: there are 7
# pictures, and where it is `lopsided` one rank has all of them in the last step.
JOBS = [
    {"name": "one", "do": "train", "ranks": 1},
    {"name": "run-one", "do": "run", "ranks": 1},
    {"name": "ddp3", "do": "train", "ranks": 3, "lopsided": True, "accumulate": 2},
    {"name": "fsdp3", "do": "train", "ranks": 3, "strategy": "fsdp", "lopsided": True},
    {"name": "agree", "do": "agree", "ranks": 3},
    {"name": "ddp2", "do": "train", "ranks": 2, "strategy": "ddp", "recompute": True},
    {"name": "fsdp2", "do": "train", "ranks": 2, "strategy": "fsdp", "accumulate": 2},
    # From the middle of another number of ranks and another strategy.
    {"name": "3-to-2", "do": "train", "ranks": 2, "strategy": "fsdp", "resume": "ddp3"},
    {"name": "bf16-ddp", "ranks": 2, "strategy": "ddp", **BF16},
    {"name": "bf16-fsdp", "ranks": 2, "strategy": "fsdp", "recompute": True, **BF16},
    {"name": "run-ddp2", "do": "run", "ranks": 2},
    {"name": "run-fsdp2", "do": "run", "ranks": 2, "run": RECOMPUTED},
    {"name": "2-to-1", "do": "train", "ranks": 1, "resume": "fsdp2"},
    {"name": "run-2-to-1", "do": "run", "ranks": 1, "resume": "run-fsdp2", "step": 4},
    {"name": "elastic", "do": "elastic", "ranks": 1},
    {"name": "run-2-to-3", "do": "run", "ranks": 3, "resume": "run-ddp2", "step": 8},
]
# What two runs may differ in.
CLOCKS = {"seconds", "pictures_per_second", "tflops", "flops_share", "peak_tflops"}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """What all jobs wrote."""
    folder = tmp_path_factory.mktemp("ranks")
    path = folder / "jobs.json"
    path.write_text(json.dumps(JOBS), encoding="utf-8")
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
    }
    done = subprocess.run(
        [sys.executable, "-P", str(PROGRAM), str(path), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def said(folder, name, rank=0):
    return json.loads((folder / f"{name}.rank{rank}.json").read_text(encoding="utf-8"))


def log_of(folder, name):
    text = (folder / name / "log.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    return [{k: v for k, v in line.items() if k not in CLOCKS} for line in lines]


def several(do):
    return [job["name"] for job in JOBS if job["do"] == do and "one" not in job["name"]]


@pytest.mark.parametrize("name", several("train"))
def test_several_ranks_learn_what_one_does(folder, name):
    truth = said(folder, "one")["lines"]
    lines = said(folder, name)["lines"]
    for line, true in zip(lines, truth[-len(lines) :], strict=True):
        assert line["right"] == true["right"]
        np.testing.assert_allclose(
            [line["loss"], line["norm"]], [true["loss"], true["norm"]], rtol=1e-9
        )
    ended, expected = (load_file(folder / f"{n}-end.safetensors") for n in (name, "one"))
    assert ended.keys() == expected.keys()
    for key, value in ended.items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-9, atol=1e-9, err_msg=key)


def test_the_losses_move(folder):
    losses = [line["loss"] for line in said(folder, "one")["lines"]]
    assert len(set(losses)) == len(losses)
    begun, ended = (load_file(folder / f"one{end}.safetensors") for end in ("", "-end"))
    moved = {n for n, value in ended.items() if not np.array_equal(value, begun[n])}
    # The head has no loss behind the checkpoint; its moments do not move it then.
    assert "model/head.weight" not in moved
    assert {"model/model.vision.patch.weight", "model/model.fusion.iterations.1.alpha"} <= moved
    assert "ema/head.weight" in moved


@pytest.mark.parametrize("rank", [1, 2])
def test_every_rank_knows_the_same(folder, rank):
    assert said(folder, "fsdp3", rank) == said(folder, "fsdp3", 0)


def test_bf16_shards_are_rounded_as_autocast_does(folder):
    sharded, whole = (said(folder, f"bf16-{name}")["lines"] for name in ("fsdp", "ddp"))
    # Before any update: the same matrix products of the same roundings.
    np.testing.assert_allclose(sharded[0]["loss"], whole[0]["loss"], rtol=1e-6)
    np.testing.assert_allclose(sharded[0]["norm"], whole[0]["norm"], rtol=1e-3)
    np.testing.assert_allclose(sharded[1]["loss"], whole[1]["loss"], rtol=1e-2)


def test_matrices_are_sharded_and_vectors_whole(folder):
    ranks = [said(folder, "bf16-fsdp", rank) for rank in range(2)]
    whole, vectors = ranks[0]["whole"], ranks[0]["vectors"]
    assert sum(rank["here"] - vectors for rank in ranks) == whole - vectors
    for rank in ranks:
        assert rank["seen"] == ["torch.bfloat16", "torch.float32"]
        assert rank["here"] < 0.55 * (whole - vectors) + vectors
    assert said(folder, "bf16-ddp")["here"] == whole


@pytest.mark.parametrize("name", several("run"))
def test_the_trainer_learns_the_same_on_any_ranks(folder, name):
    lines, truth = log_of(folder, name), log_of(folder, "run-one")
    assert len(lines) == len(truth) == 12
    for line, true in zip(lines, truth, strict=True):
        assert line.keys() == true.keys()
        for key, value in line.items():
            expected = true[key]
            if "loss" in key:
                expected = pytest.approx(expected, rel=1e-5)
            elif not isinstance(value, str):
                # Rewards are differences of losses.
                expected = pytest.approx(expected, rel=1e-4, abs=1e-4)
            assert value == expected, (line["step"], key)
    ended, expected = (load_file(folder / f"{n}-end.safetensors") for n in (name, "run-one"))
    assert ended.keys() == expected.keys()
    for key, value in ended.items():
        # A key's bias cancels in the softmax: its gradient is rounding, which Adam scales up.
        if not key.endswith("key.bias"):
            np.testing.assert_allclose(value, expected[key], rtol=0, atol=2e-5, err_msg=key)


def test_the_trainers_losses_move(folder):
    lines = log_of(folder, "run-one")
    assert {line["stage"] for line in lines} == {"first", "second"}
    assert len({line["loss"] for line in lines}) == 12
    assert sum(line["bad/ask"] + line["bad/tell"] for line in lines) > 0


def test_a_rank_that_dies_leaves_no_trace(folder):
    assert (folder / "elastic" / "died").exists()
    assert log_of(folder, "elastic") == log_of(folder, "run-ddp2")


def test_ranks_agree(folder):
    ranks = [said(folder, "agree", rank) for rank in range(3)]
    assert [rank["rank"] for rank in ranks] == [0, 1, 2]
    for rank in ranks:
        assert rank["world_size"] == 3
        assert rank["sum"] == [4.5, 3.0]
        assert rank["first"] == 0
        assert rank["other"][0] == "ConfigError" and "rank 1, 2" in rank["other"][1]
        assert rank["full"] == ["CheckpointError", "no space left"]
        assert rank["away"] == [
            "FileNotFoundError",
            "[Errno 2] No such file or directory: '/nowhere/at/all'",
        ]
        differ = {name: said for name, said in rank.items() if name.startswith("differs ")}
        assert len(differ) == 6
        for name, (kind, message) in differ.items():
            assert kind == "ConfigError" and "of rank 1 is another" in message, message
            assert name.removeprefix("differs ") in message
        assert "(fsdp and auto)" in differ["differs strategy"][1]
        assert rank["shape"][0] == "CheckpointError" and "(3,)" in rank["shape"][1]
        assert rank["stranger"][0] == "CheckpointError" and "'a'" in rank["stranger"][1]
    kinds = [rank["broken"][0] for rank in ranks]
    assert kinds == ["ZeroDivisionError", "RuntimeError", "RuntimeError"]
