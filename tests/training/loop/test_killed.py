"""A run that dies at any moment goes on as if it had not: the same log, the same weights."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest
import torch
from killed_runs import CONFIG, DEATHS
from safetensors.torch import load_file
from toy_run import log_of

from tokenfuse_training.loop.throughput import TIMED

PROGRAM = pathlib.Path(__file__).with_name("killed_runs.py")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    environment = os.environ | {
        # A fork behind OpenMP's threads would wait for them for ever.
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
    }
    done = subprocess.run(
        [sys.executable, "-P", str(PROGRAM), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_death_was_one(folder):
    ends = json.loads((folder / "deaths.json").read_text(encoding="utf-8"))
    for (kind, _), end in zip(DEATHS, ends, strict=True):
        assert end["signal"] == (signal.SIGXFSZ if kind == "bytes" else signal.SIGKILL), kind
    # One died while it wrote a checkpoint; what it left was no checkpoint to the next.
    assert any(end["unfinished"] for end in ends)


def test_the_log_is_the_same_to_the_last_bit(folder):
    whole, killed = (log_of(folder / name) for name in ("whole", "killed"))
    assert [line["step"] for line in whole] == [3, 6, 7, 9, 12, 15, 16, 18, 21, 22]
    for line, expected in zip(killed, whole, strict=True):
        assert line.keys() == expected.keys()
        for name in line.keys() - set(TIMED):
            assert line[name] == expected[name], (line["step"], name)
    # It did learn, and the sampler did change its mind.
    assert whole[-1]["loss"] < whole[0]["loss"]
    assert whole[0]["probability/ask"] != whole[2]["probability/ask"]


def test_the_checkpoints_are_the_same_to_the_last_bit(folder):
    names = [
        sorted(path.name for path in (folder / name / "checkpoints").iterdir())
        for name in ("whole", "killed")
    ]
    assert names[0][-1] == names[1][-1] == f"step-{CONFIG.num_steps:08d}.safetensors"
    # The last two, nothing else, and nothing half-written.
    assert [len(found) for found in names] == [2, 2]
    whole, killed = (
        load_file(folder / name / "checkpoints" / names[0][-1]) for name in ("whole", "killed")
    )
    assert whole.keys() == killed.keys()
    assert {name.split("/")[0] for name in whole} == {"weights", "ema", "optimizer"}
    for name, tensor in whole.items():
        assert torch.equal(tensor, killed[name]), name
