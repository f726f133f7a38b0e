"""The roofline: operations by type against PyTorch's own count, limits by hand, and a run."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import pytest
from isa_loops import REGISTERS, Loop, cpu_flags, is_x86, loops_for
from operations import ANSWER_TOKENS, STAGES, TEXT_TOKENS, Limit, Operations, count, limit
from peaks import best_peaks
from program import source

from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import UnsupportedModelError
from tokenfuse_sdk.sizes import named_config

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "roofline.py"


def _config(**fusion: object) -> ModelConfig:
    nano = named_config("nano")
    return dataclasses.replace(nano, fusion=dataclasses.replace(nano.fusion, **fusion))


@pytest.mark.parametrize(
    "config",
    [
        named_config("tiny"),
        _config(),
        _config(resampler="spatial", width=48, num_heads=3, num_iterations=3, num_layers=6),
    ],
    ids=["tiny", "nano", "spatial"],
)
def test_operations_by_type_are_those_that_pytorch_runs(config):
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from tokenfuse_training.model import JointModel

    side = config.vision.image_size
    with torch.device("meta"):
        model = JointModel(config)
        image = torch.zeros(1, side, side, 3)
        text = torch.ones(1, TEXT_TOKENS, dtype=torch.long)
        answer = torch.zeros(1, ANSWER_TOKENS, dtype=torch.long)
        counted = {}
        with FlopCounterMode(display=False) as counter:
            f_BND = model.encode_image(image)
        counted["image"] = counter.get_flop_counts()["Global"]
        # A convolution to torch, a linear over patches to the engine.
        seen = []
        patch_layer = model.vision.patch
        hook = patch_layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        model.encode_image(image)
        hook.remove()
        with FlopCounterMode(display=False) as counter:
            patch_layer(seen[0])
        patch = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            fused, mask = model.fuse(f_BND, text)
            model.decode(answer, fused, mask)
        counted["question"] = counter.get_flop_counts()["Global"]
    for stage in STAGES:
        by_op = {str(op).split(".")[-1]: flops for op, flops in counted[stage].items()}
        want = count(config, stage)
        assert 2 * want.attention == by_op.get("bmm", 0)
        as_linear = patch if stage == "image" else 0
        assert 2 * want.convolution == by_op.get("convolution", 0) - as_linear
        assert 2 * want.dense == by_op.get("addmm", 0) + by_op.get("mm", 0) + as_linear


def test_weights_are_those_of_the_modules():
    torch = pytest.importorskip("torch")
    from tokenfuse_training.model import JointModel

    config = named_config("nano")
    with torch.device("meta"):
        model = JointModel(config)
    modules = list(model.modules())
    both = count(config, "image") + count(config, "question")
    linears = (module for module in modules if isinstance(module, torch.nn.Linear))
    convolutions = (module for module in modules if isinstance(module, torch.nn.Conv2d))
    patch = model.vision.patch.weight.numel()
    assert both.dense_weights == sum(module.weight.numel() for module in linears) + patch
    assert both.other_weights == sum(module.weight.numel() for module in convolutions) - patch


def test_a_baseline_is_refused():
    with pytest.raises(UnsupportedModelError, match="concat"):
        count(_config(kind="concat"), "image")


def test_limits_by_hand():
    work = Operations(dense=1000, attention=30, convolution=20, dense_weights=400, other_weights=50)
    best = {"fp32": 10.0, "int8": 40.0}
    assert limit(work, "fp32", best, 5.0) == Limit(arithmetic=210.0, memory=1800 / 5)
    assert limit(work, "int8", best, 5.0) == Limit(arithmetic=57.0, memory=600 / 5)
    assert limit(work, "bf16", best, 5.0) is None
    # 1000 / 20 + 30 / (40 / 2) + 20 / 10, twice; bf16 without 8-bit products has fp32's attention.
    assert limit(work, "bf16", best | {"bf16": 20.0}, 5.0).arithmetic == 107.0
    assert limit(work, "bf16", {"fp32": 10.0, "bf16": 20.0}, 5.0).arithmetic == 110.0
    assert limit(work, "int8", best, 5.0).seconds == 120.0
    assert limit(work, "int8", best, 50.0).seconds == 57.0


def test_a_slow_instruction_is_not_the_limit():
    names = loops_for(cpu_flags(), x86=is_x86())
    best = best_peaks(
        {name: 1.0 if loop.precision != "fp32" else 9.0 for name, loop in names.items()}
    )
    assert set(best.values()) == {9.0}


def test_loops_are_those_of_the_flags():
    assert list(loops_for(frozenset({"avx2", "fma", "avx512f"}), x86=True)) == [
        "avx2 fma",
        "avx512 fma",
    ]
    assert list(loops_for(frozenset({"asimd", "i8mm"}), x86=False)) == [
        "neon fma",
        "neon int8 matrix",
    ]


@pytest.mark.parametrize(
    ("compiler", "x86"), [("c++", True), ("aarch64-linux-gnu-g++", False)], ids=["x86", "arm"]
)
def test_every_loop_compiles(compiler, x86, tmp_path):
    if shutil.which(compiler) is None or (compiler == "c++" and not is_x86()):
        pytest.skip(f"needs {compiler} for this architecture")

    class Everything(frozenset):
        """Flags that a CPU with every instruction set has."""

        def __ge__(self, other: object) -> bool:
            return True

    loops = loops_for(Everything(), x86=x86)
    assert {loop.precision for loop in loops.values()} == {"fp32", "bf16", "int8"}
    assert {loop.width for loop in loops.values()} <= set(REGISTERS)
    path = tmp_path / "peaks.cc"
    path.write_text(source(loops))
    command = [compiler, "-O1", "-std=c++17", "-c", str(path), "-o", str(tmp_path / "peaks.o")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_loops_registers():
    assert Loop("fp32", frozenset(), 4, "fmla v\\reg\\().4s, v30.4s, v31.4s").width == "neon"
    assert Loop("fp32", frozenset(), 8, "x %%ymm14, %%ymm15, %%ymm\\reg").width == "ymm"
    for width, factors in (("ymm", {14, 15}), ("zmm", {14, 15}), ("neon", {30, 31})):
        assert not factors & set(REGISTERS[width])
        assert len(set(REGISTERS[width])) == len(REGISTERS[width])


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_the_script(_bundle_once, tmp_path):
    path = tmp_path / "roofline.json"
    arguments = ["--threads", "1", "--rounds", "2", "--seconds", "1e-4", "--json", str(path)]
    command = [sys.executable, str(SCRIPT), "--model", str(_bundle_once), "--ops", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "% of the limit" in done.stdout
    stored = json.loads(path.read_text())
    (peaks,) = stored["peaks"]
    assert peaks.pop("threads") == 1
    assert all(rate > 1e6 for rate in peaks.values())
    assert {row["stage"] for row in stored["models"]} == {"image", "question", "whole"}
    for row in stored["models"]:
        assert 0 < row["quartiles_ms"][0] <= row["median_ms"] <= row["quartiles_ms"][1]
        if row["share"] is not None:
            least = max(row["arithmetic_ms"], row["memory_ms"])
            assert row["share"] == pytest.approx(least / row["median_ms"])
    assert {row["threads"] for row in stored["ops"]} == {1}
    missing = subprocess.run(
        [sys.executable, str(SCRIPT), "--model", str(tmp_path / "nothing")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert missing.returncode == 1
    assert "no bundle" in missing.stderr
    assert "Traceback" not in missing.stderr
