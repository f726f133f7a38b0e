"""Ranks where there is one alone, and what their surroundings must be."""

from __future__ import annotations

import threading

import pytest
import torch
import torch.distributed as dist

from tokenfuse_sdk.errors import ConfigError, DeviceError
from tokenfuse_training.config.run_settings import RunSettings
from tokenfuse_training.loop.fresh_store import fresh_store
from tokenfuse_training.loop.ranks import (
    join_ranks,
    on_rank_0,
    same_on_all,
    sum_over_ranks,
    uses_bf16,
)
from tokenfuse_training.loop.spread import clip_gradients


def test_one_rank_needs_no_group():
    with join_ranks(RunSettings(device="cpu"), {"WORLD_SIZE": "1"}) as ranks:
        assert (ranks.rank, ranks.world_size, ranks.device.type) == (0, 1, "cpu")
        assert not dist.is_initialized()
        given = torch.tensor([1.0])
        assert sum_over_ranks(given).data_ptr() != given.data_ptr()
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


def test_what_an_earlier_start_left_is_not_read():
    store = dist.HashStore()
    store.set("asks/1", "one that is dead")
    store.set("asks/2", "another")
    found = {}

    def come(rank):
        found[rank] = fresh_store(store, rank, 3, 20.0)

    for start in range(2):
        ranks = [threading.Thread(target=come, args=(rank,)) for rank in range(3)]
        for thread in ranks:
            thread.start()
        for thread in ranks:
            thread.join(20.0)
        assert sorted(found) == [0, 1, 2]
        assert not found[1].check(["key"])
        found[0].set("key", str(start))
        assert [found.pop(rank).get("key") for rank in (2, 1, 0)] == [b"%d" % start] * 3


def test_a_rank_that_does_not_come_is_named():
    with pytest.raises(DeviceError, match="rank 1, 2 of 3"):
        fresh_store(dist.HashStore(), 0, 3, 0.01)
