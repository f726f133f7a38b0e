"""Workers that fail, and workers whose training process does."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys
import time

import pytest
from toy_data import Dies, Fails, Say, read, stage_of

from tokenfuse_training.errors import DataError


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
