"""Several gloo processes against one: the same losses, weights and averages, to rounding.

`rank_program.py` trains a small model by plain PyTorch around the functions under test; one rank
takes none of their paths, so it is the truth for the others.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tokenfuse_sdk.errors import ConfigError, DeviceError
from tokenfuse_training.loop.ranks import (
    any_over_ranks,
    join_ranks,
    on_rank_0,
    same_on_all,
    sum_over_ranks,
    uses_bf16,
)
from tokenfuse_training.loop.spread import clip_gradients
from tokenfuse_training.train_config import RunSettings

PROGRAM = pathlib.Path(__file__).with_name("rank_program.py")
# Uneven shares everywhere: 7 pictures. `lopsided`: in the last step one rank has all of them.
JOBS = (
    {"name": "one", "do": "train", "ranks": 1, "strategy": "auto"},
    {"name": "ddp2", "do": "train", "ranks": 2, "strategy": "ddp", "recompute": True},
    {"name": "ddp3", "do": "train", "ranks": 3, "strategy": "auto", "lopsided": True},
    {"name": "fsdp2", "do": "train", "ranks": 2, "strategy": "fsdp", "accumulate": 2},
    {"name": "fsdp3", "do": "train", "ranks": 3, "strategy": "fsdp", "lopsided": True},
    # From the middle of another number of ranks and another strategy.
    {"name": "2-to-1", "do": "train", "ranks": 1, "strategy": "auto", "resume": "fsdp2"},
    {"name": "2-to-3", "do": "train", "ranks": 3, "strategy": "ddp", "resume": "fsdp2"},
    {"name": "3-to-2", "do": "train", "ranks": 2, "strategy": "fsdp", "resume": "ddp3"},
    {"name": "bf16-ddp", "do": "train", "ranks": 2, "strategy": "ddp", "precision": "bf16"},
    {"name": "bf16-fsdp", "do": "train", "ranks": 2, "strategy": "fsdp", "precision": "bf16"},
    {"name": "shards", "do": "sharded", "ranks": 2, "strategy": "fsdp", "precision": "bf16"},
    {"name": "agree", "do": "agree", "ranks": 3, "strategy": "auto"},
)
ACCUMULATED = {"ddp3": 2, "fsdp3": 3, "2-to-3": 2}
SINGLE = ("bf16-ddp", "bf16-fsdp", "shards")
TRAINED = [job["name"] for job in JOBS if job["do"] == "train"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """What all jobs wrote."""
    folder = tmp_path_factory.mktemp("ranks")
    jobs = [
        job
        | ({"accumulate": ACCUMULATED[job["name"]]} if job["name"] in ACCUMULATED else {})
        | ({"dtype": "float32"} if job["name"] in SINGLE else {})
        | ({"recompute": True} if job["name"] in ("fsdp3", "bf16-fsdp") else {})
        for job in JOBS
    ]
    path = folder / "jobs.json"
    path.write_text(json.dumps(jobs), encoding="utf-8")
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
    }
    done = subprocess.run(
        [sys.executable, "-P", str(PROGRAM), str(path), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    return folder


def said(folder, name, rank=0):
    return json.loads((folder / f"{name}.rank{rank}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [n for n in TRAINED if n not in ("one", *SINGLE)])
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
    pairs = zip(said(folder, "bf16-fsdp")["lines"], said(folder, "bf16-ddp")["lines"], strict=True)
    for index, (sharded, whole) in enumerate(pairs):
        # The first is before any update: the same matrix products of the same roundings.
        rtol = 1e-6 if index == 0 else 2e-2
        np.testing.assert_allclose(sharded["loss"], whole["loss"], rtol=rtol)


def test_matrices_are_sharded_and_vectors_whole(folder):
    ranks = [said(folder, "shards", rank) for rank in range(2)]
    assert ranks[0]["seen"] == ["torch.bfloat16", "torch.float32"]
    whole, vectors = ranks[0]["whole"], ranks[0]["vectors"]
    assert sum(rank["here"] - vectors for rank in ranks) == whole - vectors
    for rank in ranks:
        assert rank["here"] < 0.55 * (whole - vectors) + vectors


def test_ranks_agree(folder):
    ranks = [said(folder, "agree", rank) for rank in range(3)]
    assert [rank["rank"] for rank in ranks] == [0, 1, 2]
    for rank in ranks:
        assert rank["world_size"] == 3
        assert rank["sum"] == [4.5, 3.0]
        assert rank["any"] == [True, False]
        assert rank["first"] == 0
        assert rank["other"][0] == "ConfigError" and "rank 1, 2" in rank["other"][1]
        assert rank["full"] == ["CheckpointError", "no space left"]
        assert rank["shape"][0] == "CheckpointError" and "(3,)" in rank["shape"][1]
        assert rank["stranger"][0] == "CheckpointError" and "'a'" in rank["stranger"][1]
    kinds = [rank["broken"][0] for rank in ranks]
    assert kinds == ["ZeroDivisionError", "RuntimeError", "RuntimeError"]


def test_one_rank_needs_no_group():
    with join_ranks(RunSettings(device="cpu"), {"WORLD_SIZE": "1"}) as ranks:
        assert (ranks.rank, ranks.world_size, ranks.device.type) == (0, 1, "cpu")
        assert not torch.distributed.is_initialized()
        given = torch.tensor([1.0])
        assert sum_over_ranks(given).data_ptr() != given.data_ptr()
        assert any_over_ranks(True) and not any_over_ranks(False)
        same_on_all("anything")
        assert on_rank_0(lambda: "done") == "done"


@pytest.mark.parametrize(
    ("device", "environment", "error", "message"),
    [
        ("cpu", {"WORLD_SIZE": "2"}, ConfigError, "torchrun"),
        ("cpu", {"WORLD_SIZE": "two"}, ConfigError, "'two'"),
        ("cpu", {"WORLD_SIZE": "2", "RANK": "0"}, ConfigError, "LOCAL_RANK"),
        ("gpu", {}, ConfigError, "cuda:N"),
        ("meta", {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}, ConfigError, "several"),
    ],
)
def test_bad_surroundings(device, environment, error, message):
    with (
        pytest.raises(error, match=message),
        join_ranks(RunSettings(device=device), environment),
    ):
        pass


def test_gpus_that_are_not_there(monkeypatch):
    ranks = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "3"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="no GPU"), join_ranks(RunSettings(device="cuda"), ranks):
        pass
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DeviceError, match="nproc-per-node=2"):
        join_ranks(RunSettings(device="auto"), ranks).__enter__()
    with pytest.raises(ConfigError, match="CUDA_VISIBLE_DEVICES"):
        join_ranks(RunSettings(device="cuda:1"), ranks).__enter__()


def test_bf16_is_automatic_on_a_gpu_alone():
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    assert [uses_bf16(RunSettings(), device) for device in (cpu, cuda)] == [False, True]
    assert uses_bf16(RunSettings(precision="bf16"), cpu)
    assert not uses_bf16(RunSettings(precision="fp32"), cuda)


@pytest.mark.parametrize("max_norm", [0.0, 1.0, 100.0])
def test_clipping_on_one_rank_is_that_of_pytorch(max_norm):
    torch.manual_seed(0)
    mine = [torch.nn.Parameter(torch.zeros(n)) for n in (3, 5, 2)]
    for parameter in mine[:2]:
        parameter.grad = torch.randn(parameter.shape) * 3
    theirs = [torch.nn.Parameter(torch.zeros_like(p)) for p in mine]
    for parameter, other in zip(mine, theirs, strict=True):
        other.grad = None if parameter.grad is None else parameter.grad.clone()
    norm = clip_gradients(iter(mine), max_norm)
    true = torch.nn.utils.clip_grad_norm_(theirs, max_norm or float("inf"))
    assert norm == pytest.approx(float(true), rel=1e-6)
    assert mine[2].grad is None
    for parameter, other in zip(mine[:2], theirs[:2], strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-5, atol=0)


def test_a_norm_that_is_not_finite_scales_nothing():
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([float("inf"), 3.0])
    assert clip_gradients([parameter], 1.0) == float("inf")
    assert parameter.grad[1] == 3.0
