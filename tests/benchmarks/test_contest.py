"""Contestants that lack a package, do not open, are wrong or die: listed, and no hindrance."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import contest
import numpy as np
import pytest
from contest import Contest, Pace, ask_all
from contestants import Entry
from safetensors.numpy import save_file
from work import QUESTIONS, batch_part

BENCHMARKS = pathlib.Path(contest.__file__).parents[1]
PACE = Pace(rounds=3, turn_seconds=0.0, start_rounds=2, num_questions=3)
END = 1
# All fakes are this one; the variant says how it fails.
FAKE = """
import os
import numpy as np

PACKAGES = ()
QUANTISERS = ("no_such_package",)
GRAPHS_NEEDED = False

def prepare(task):
    if task.variant == "prepare":
        raise RuntimeError("cannot be quantised")

def open_contestant(task):
    if task.variant == "open":
        raise RuntimeError("wants another CPU")
    return Fake(task)

class Fake:
    def __init__(self, task):
        self.variant, self.inputs, self.calls = task.variant, None, 0
        if task.part != "questions":
            self.inputs = task.inputs()

    def encode(self, image_BHW3):
        return image_BHW3

    def answer(self, f, text_BL):
        self.calls += 1
        if self.variant == "die" and self.calls > 12:
            print("out of luck", flush=True)
            os._exit(3)
        first = 1 if self.variant == "end" else 5 + self.variant.startswith("other")
        return np.full((len(text_BL), 2), (first, 1), dtype=np.int32)

    def logits(self, f, text_BL, answer_BA):
        off = {"off": 0.1, "nan": np.nan}.get(self.variant, 0.0)
        return self.inputs.logits_BAV + np.float32(off)
"""


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "fakes").mkdir()
    (tmp_path / "fakes" / "with_fake.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fakes"), prepend=":")
    save_file({"w": np.ones(4, np.float32)}, tmp_path / "weights.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({}))
    image = np.zeros((1, 2, 2, 3), np.float32)
    text = np.full((3, 4), 7, np.int32)
    answer = np.full((3, 2), (5, END), np.int32)
    (tmp_path / batch_part(1)).mkdir()
    np.savez(
        tmp_path / batch_part(1) / "inputs.npz",
        image_BHW3=image,
        text_BL=text[:1],
        answer_BA=answer[:1],
        logits_BAV=np.ones((1, 2, 9), np.float32),
        end_id=np.int32(END),
    )
    (tmp_path / QUESTIONS).mkdir()
    right = answer.copy()
    right[2, 0] = 6
    np.savez(
        tmp_path / QUESTIONS / "inputs.npz",
        image_PHW3=image,
        picture_Q=np.zeros(3, np.int32),
        text_QL=text,
        answer_QA=answer,
        right_QA=right,
        end_id=np.int32(END),
    )
    return str(tmp_path)


def _entry(variant: str, precision: str = "fp32") -> Entry:
    return Entry(f"fake {variant}", precision, "with_fake", variant)


@pytest.fixture
def opened(folder):
    contests = []

    def open_(*entries: Entry) -> Contest:
        contests.append(Contest(folder, entries, 1, 1))
        return contests[-1]

    yield open_
    for one in contests:
        one.close()


@pytest.mark.parametrize(
    ("variant", "precision", "why"),
    [
        ("fine", "int8", "missing: no_such_package"),
        ("prepare", "fp32", "cannot be quantised"),
        ("open", "fp32", "wants another CPU"),
        ("off", "fp32", r"off by 1\.0e-01"),
        ("nan", "fp32", "off by nan"),
        ("nan", "bf16", "off by nan"),
        ("end", "fp32", "before its second step"),
    ],
)
def test_who_cannot_take_part_is_listed_and_the_others_go_on(opened, variant, precision, why):
    bad = _entry(variant, precision)
    one = opened(bad, _entry("good"))
    rows = one.rows("answer", PACE)
    assert [row.name for row in rows] == ["fake good"]
    assert list(one.absent) == [bad.label]
    assert re.search(why, one.absent[bad.label])


def test_a_reduced_precision_is_judged_by_its_figure(opened):
    one = opened(_entry("off", "bf16"))
    (row,) = one.rows("answer", PACE)
    assert row.max_abs_err == pytest.approx(0.1)
    assert row.relative_err == pytest.approx(0.1)
    assert len(row.turns_ms) == PACE.rounds


def test_who_dies_in_its_turn_is_listed_and_the_others_are_timed(opened):
    one = opened(_entry("die"), _entry("good"))
    rows = one.rows("answer", PACE)
    assert [row.name for row in rows] == ["fake good"]
    assert one.absent["fake die fp32"]


_OPEN_AND_DIE = """
import os, signal, sys
sys.path += sys.argv[2:]
from contest import Contest
from contestants import Entry
one = Contest(sys.argv[1], [Entry("fake good", "fp32", "with_fake", "good")], 1, 1)
print(one._workers["fake good fp32"]._process.process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_halted_contestant_dies_with_the_one_who_halted_it(folder):
    paths = [str(BENCHMARKS), str(BENCHMARKS / "peers")]
    command = [sys.executable, "-c", _OPEN_AND_DIE, folder, *paths]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, start_new_session=True
    )
    assert done.returncode == -9, done.stderr
    process = pathlib.Path("/proc") / done.stdout.strip()
    for _ in range(100):
        # A zombie has no memory left; whoever inherits it collects it at leisure.
        if not process.exists() or " Z " in (process / "stat").read_text():
            return
        time.sleep(0.05)
    os.kill(int(done.stdout), signal.SIGKILL)
    pytest.fail("the contestant is still there")


def test_ours_being_wrong_stops_everything(folder, monkeypatch):
    monkeypatch.setattr(Entry, "is_ours", property(lambda self: True))
    with pytest.raises(SystemExit, match="off by"):
        Contest(folder, [_entry("off")], 1, 1)


def test_what_does_not_fit_into_memory_is_not_opened(opened, monkeypatch):
    monkeypatch.setattr(contest, "_OPENING_MEMORY", 10**12)
    one = opened(_entry("good"))
    assert "run it with --only" in one.absent["fake good fp32"]
    assert one.rows("answer", PACE) == []


def test_starts(opened, tmp_path):
    one = opened(_entry("good"))
    (row,) = one.start_rows(str(tmp_path), PACE)
    low, high = row.quartiles_ms
    assert 0 < low <= row.first_answer_ms <= high
    assert row.peak_mb > 5


def test_answers_are_counted(folder):
    entries = [_entry("good"), _entry("other"), _entry("open")]
    rows, absent = ask_all(folder, entries, 1)
    assert [(row.name, row.num_questions, row.same, row.right) for row in rows] == [
        ("fake good", 3, 3, 2),
        ("fake other", 3, 0, 1),
    ]
    assert list(absent) == ["fake open fp32"]
