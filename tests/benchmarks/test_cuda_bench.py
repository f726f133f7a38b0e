"""`benchmarks/bench_cuda.py` without a GPU: its parts, and a dry run from end to end."""

from __future__ import annotations

import json
import math
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gpu import DryDevice  # noqa: E402
from gpu_work import MergeShape  # noqa: E402
from merge_contest import MERGE_BOUNDS, entrant_of  # noqa: E402
from merge_inputs import MergeInputs, num_sets  # noqa: E402
from merge_ours import our_folded  # noqa: E402
from merge_torch import folded_form, projected_form  # noqa: E402
from our_module import NotHere, emulated_module  # noqa: E402

from tokenfuse_sdk.ops import reference  # noqa: E402

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "bench_cuda.py"
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


def test_a_wrong_form_takes_no_part(inputs):
    right = projected_form(inputs)
    wrongs = {
        "off": lambda x_BSC: 1.02 * right(x_BSC),
        "another head's": lambda x_BSC: right(x_BSC).roll(SHAPE.width // SHAPE.num_heads, -1),
        "unwritten": lambda x_BSC: inputs.new_output(*right(x_BSC).shape),
    }
    for name, form in wrongs.items():
        with pytest.raises(ValueError, match="off by"):
            entrant_of(inputs, name, form, 0)
    # Right at first, and wrong when it runs again.
    asked = []

    def later(x_BSC):
        asked.append(1)
        return right(x_BSC) * (1 if len(asked) == 1 else 2)

    with pytest.raises(ValueError, match="off by"):
        entrant_of(inputs, "later", later, 0)
    entrant = entrant_of(inputs, "right", right, 0)
    assert entrant.timed == "graph" and 0 < entrant.relative_err < MERGE_BOUNDS["fp16"]
    on_device, asking = entrant.device()
    assert on_device > 0 and asking > 0


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
