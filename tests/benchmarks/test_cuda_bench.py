"""`benchmarks/bench_cuda.py` without a GPU: its parts, and a dry run from end to end."""

from __future__ import annotations

import json
import math
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gpu import DryDevice  # noqa: E402
from gpu_contest import Entrant, limited, open_all, take_turns  # noqa: E402
from gpu_report import Stored, gpu_row, print_gpu_rows  # noqa: E402
from gpu_work import MergeShape, Peaks, Work  # noqa: E402
from merge_inputs import MergeInputs, num_sets  # noqa: E402
from merge_ours import our_folded  # noqa: E402
from merge_torch import folded_form, projected_form  # noqa: E402
from model_inputs import equal_answers  # noqa: E402
from our_module import NotHere, emulated_module  # noqa: E402
from report import row_of  # noqa: E402
from summary import lines  # noqa: E402
from work import Inputs  # noqa: E402

from tokenfuse_sdk.ops import reference  # noqa: E402

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "bench_cuda.py"
PEAKS = Peaks(copy_bytes_per_s=1e12, flops_per_s={"fp16": 1e14, "bf16": 1e14})
SHAPE = MergeShape(batch=3, num_latents=4, num_tokens=21, width=32, num_heads=2)


# merge_attention: inputs, truth, contestants


@pytest.fixture(scope="module")
def inputs() -> MergeInputs:
    return MergeInputs(DryDevice(), SHAPE, "fp16")


def test_both_forms_compute_the_truth(inputs):
    for form in (projected_form, folded_form):
        worst, relative = inputs.error_of(form(inputs)(inputs.tokens[0]))
        assert 0 < relative < 0.01
        assert worst > 0


def test_the_truth_is_that_of_the_op_in_numpy(inputs):
    q_RC, matrix, bias = (
        x.double().numpy()
        for x in (inputs.folded.q_RC, inputs.folded.matrix_DX, inputs.folded.bias_D)
    )
    rows = []
    for x_SC in inputs.tokens[0].double().numpy():
        merged, _, _ = reference.merge_attention(q_RC, x_SC)
        rows.append(merged.reshape(SHAPE.num_latents, -1) @ matrix.T + bias)
    # Of the constants' rounding to 16 bits, which is in these and not in the truth.
    assert inputs.error_of(torch.from_numpy(np.stack(rows)))[1] < 0.005


def test_what_was_not_written_is_seen(inputs):
    f = projected_form(inputs)(inputs.tokens[0]).clone()
    f[1, 2, 3] = math.nan
    assert inputs.error_of(f) == (math.inf, math.inf)
    assert not inputs.error_of(inputs.new_output(*f.shape))[1] < 1


def test_sets_of_tokens_leave_the_cache_but_not_the_memory():
    small = MergeShape(batch=1, num_latents=8, num_tokens=64, width=128, num_heads=4)
    large = MergeShape(batch=256, num_latents=64, num_tokens=4096, width=1024, num_heads=16)
    assert num_sets(small, 50 << 20) == 16
    assert num_sets(large, 50 << 20) == 1
    # 2 MB of tokens, and 3 MB of cache, of which twice as much.
    middle = MergeShape(batch=16, num_latents=8, num_tokens=512, width=128, num_heads=4)
    assert num_sets(middle, 3 << 20) == 3


def test_a_module_without_the_ops_is_absent(inputs):
    class Module:
        __name__ = "_cuda"

    with pytest.raises(NotHere, match="_cuda has no merge_attention, linear"):
        our_folded(inputs, Module())


def test_no_emulator(monkeypatch, tmp_path):
    monkeypatch.setenv("TOKENFUSE_CUDA_EMULATED", str(tmp_path))
    with pytest.raises(NotHere, match="set TOKENFUSE_CUDA_EMULATED"):
        emulated_module()


# The contest


def _entrant(name: str, seconds: float, **facts: object) -> Entrant:
    fields = {
        "precision": "fp16",
        "wall": lambda: seconds,
        "device": lambda: (seconds / 2, seconds / 4),
        "max_abs_err": 0.0,
        "relative_err": 0.0,
        "timed": "graph",
    }
    return Entrant(name=name, **(fields | facts))


def test_turns_give_medians_and_who_fails_is_named():
    calls = []

    def failing() -> float:
        calls.append(1)
        if len(calls) > 6:
            raise RuntimeError("illegal memory access\nand its stack")
        return 1e-3

    entrants = [_entrant("ours", 2e-3), _entrant("theirs", 4e-3), _entrant("bad", 0, wall=failing)]
    absent: dict[str, str] = {}
    timed = take_turns(entrants, absent, rounds=3, turn_seconds=8e-3)
    assert absent == {"bad fp16": "RuntimeError: illegal memory access"}
    (first, ours), (second, theirs) = timed
    assert (first.name, second.name) == ("ours", "theirs")
    assert ours.row.median_ms == pytest.approx(2) and theirs.row.p95_ms == pytest.approx(4)
    assert (ours.device_ms, ours.launch_ms) == (pytest.approx(1), pytest.approx(0.5))


def test_opening_says_why():
    def missing() -> Entrant:
        raise NotHere("no such way")

    def broken() -> Entrant:
        raise ValueError("its result is off")

    entrants, absent = open_all({"a": missing, "b": broken, "c": lambda: _entrant("c", 1.0)})
    assert [entrant.name for entrant in entrants] == ["c"]
    assert absent == {"a": "no such way", "b": "ValueError: its result is off"}


def test_a_limit_of_time_ends_the_block():
    with pytest.raises(NotHere, match="compiling took more than 0 s"), limited(0.05, "compiling"):
        time.sleep(5)
    with limited(0, "compiling"):
        pass


# Answers


def _asked(logits_BAV: np.ndarray) -> Inputs:
    return Inputs(
        image_BHW3=np.zeros((len(logits_BAV), 1, 1, 3), np.float32),
        text_BL=np.zeros((len(logits_BAV), 12), np.int32),
        answer_BA=logits_BAV.argmax(-1).astype(np.int32),
        logits_BAV=logits_BAV,
        end_id=np.int32(1),
    )


def test_another_answer_must_be_a_near_tie():
    logits = np.zeros((2, 2, 4), np.float32)
    logits[:, :, 2], logits[:, :, 3] = 1.0, 0.9
    asked = _asked(logits)
    close = logits + 0.06
    assert equal_answers(asked, asked.answer_BA, logits) == 2
    tied = asked.answer_BA.copy()
    tied[1] = [3, 0]
    assert equal_answers(asked, tied, close) == 1
    with pytest.raises(ValueError, match="answer 1 has id 3 at place 0"):
        equal_answers(asked, tied, logits + 0.04)


# The report


def _gpu_row(name: str, milliseconds: float, **facts: object):
    row = row_of(
        [[1e-3 * milliseconds] * 3] * 4,
        name=name,
        precision="fp16",
        batch=8,
        threads=1,
        max_abs_err=1e-3,
        relative_err=2e-3,
    )
    fields = {
        "op": "answer",
        "shape": "B 8",
        "timed": "call",
        "device_ms": 0.8 * milliseconds,
        "launch_ms": 0.1,
        "work": Work(flops=10**10, bytes=10**6),
        "peaks": PEAKS,
        "answers": 8,
    }
    return gpu_row(row, **(fields | facts))


def test_a_row_in_the_file(tmp_path, capsys):
    path = tmp_path / "rows.json"
    stored = Stored(path, {"hardware": {"gpu": "a GPU"}, "commit": "abc", "model": "tiny"})
    rows = [_gpu_row("tokenfuse", 0.5), _gpu_row("torch eager", 2.0)]
    stored.add(rows, {"torch compile fp16": "too slow"}, batch=8)
    file = json.loads(path.read_text())
    assert (file["commit"], file["model"]) == ("abc", "tiny")
    assert file["hardware"]["gpu"] == "a GPU"
    ours = file["rows"][0]
    assert {"name", "precision", "batch", "threads"} <= set(ours)
    assert {"median_ms", "p95_ms", "max_abs_err"} <= set(ours)
    told = [ours[key] for key in ("name", "batch", "op", "shape")]
    assert told == ["tokenfuse", 8, "answer", "B 8"]
    assert ours["best_peer"] == "torch eager fp16"
    assert ours["times_faster_than_best_peer"] == pytest.approx(4)
    # 10^10 FLOPs at 10^14 a second take 0.1 ms, of 0.4 on the device.
    assert ours["limit_ms"] == pytest.approx(0.1) and ours["limited_by"] == "arithmetic"
    assert ours["share_of_limit"] == pytest.approx(0.25)
    assert ours["host_ms"] == pytest.approx(0.1)
    assert "row" not in ours and "turns_ms" not in ours
    assert file["absent"] == [{"contestant": "torch compile fp16", "why": "too slow", "batch": 8}]
    assert not stored.lacks_ours
    stored.add([_gpu_row("tokenfuse", 1.0, shape="B 1")], {"tokenfuse bf16": "lost"}, batch=1)
    assert stored.lacks_ours
    file = json.loads(path.read_text())
    assert len(file["rows"]) == 3 and "best_peer" not in file["rows"][2]

    print_gpu_rows("tiny", rows, {"torch compile fp16": "too slow"})
    title, _, first, second, absent = capsys.readouterr().out.strip().splitlines()
    assert title == "tiny"
    assert first.startswith("* tokenfuse fp16") and "4.00 x" in first and "25%" in first
    assert "torch eager fp16" in second and absent.endswith("too slow")

    told = list(lines(file))
    assert told[0] == "tiny on a GPU, commit abc"
    assert "tokenfuse fp16" in told[1] and "torch eager fp16" in told[1] and "4.00 x" in told[1]
    assert "25% of the limit (arithmetic)" in told[1]
    assert "-" in told[2] and " x " not in told[2]


# The script


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def test_a_dry_run_without_the_engine_fails_but_stores_the_others(tmp_path):
    path = tmp_path / "merge.json"
    done = _run(
        *("merge_attention", "--dry-run", "--precision", "fp16", "--json", str(path)),
        TOKENFUSE_CUDA_EMULATED=str(tmp_path),
    )
    assert done.returncode == 1
    assert "tokenfuse takes no part: no _cuda_emulated" in done.stderr
    assert "Traceback" not in done.stderr
    file = json.loads(path.read_text())
    assert file["dry_run"] is True and file["model"] == "merge_attention"
    assert {"copy_bytes_per_s", "flops_per_s"} == set(file["peaks"])
    names = {row["name"] for row in file["rows"]}
    assert {"torch sdpa", "torch sdpa math", "torch folded sdpa"} <= names
    labels = {f"{row['name']} {row['precision']}" for row in file["rows"]}
    assert {row["contestant"] for row in file["absent"]}.isdisjoint(labels)


def test_a_dry_run_of_a_whole_answer(_bundle_once, tmp_path):
    folder = os.environ.get("TOKENFUSE_CUDA_EMULATED")
    if not folder:
        pytest.skip("needs _cuda_emulated: set TOKENFUSE_CUDA_EMULATED (tools/check_cuda.sh)")
    path = tmp_path / "answer.json"
    some = ("--batch", "1,2", "--precision", "fp16", "--dry-run")
    done = _run("answer", "--model", str(_bundle_once), *some, "--json", str(path))
    assert done.returncode == 0, done.stderr
    file = json.loads(path.read_text())
    for batch in (1, 2):
        rows = [row for row in file["rows"] if row["batch"] == batch]
        assert {row["name"] for row in rows} == {"tokenfuse", "torch eager", "torch graph"}
        for row in rows:
            assert 0 <= row["answers"] <= batch
            assert row["relative_err"] < 0.05
            assert row["device_ms"] > 0 and row["timed"] == "call"


def test_without_a_gpu_nothing_is_measured():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    done = _run("merge_attention", "--quick")
    assert done.returncode == 1
    assert "nothing was measured: PyTorch sees no CUDA device" in done.stderr
    assert "Traceback" not in done.stderr
    assert _run("answer", "--precision", "int8").returncode == 2
