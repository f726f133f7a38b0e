"""Contestants of a GPU in turns, their answers judged, and what is reported: `benchmarks/cuda`."""

from __future__ import annotations

import contextlib
import json
import time

import numpy as np
import pytest
from gpu_contest import Entrant, limited, open_all, take_turns
from gpu_report import Stored, gpu_row, print_gpu_rows
from gpu_work import Peaks, Work
from our_module import NotHere
from report import row_of
from summary import lines
from work import Inputs

PEAKS = Peaks(copy_bytes_per_s=1e12, flops_per_s={"fp16": 1e14, "bf16": 1e14})


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
    why = "compiling took more than 0.05 s"
    with pytest.raises(NotHere, match=why), limited(0.05, "compiling"):
        time.sleep(5)
    # As a compiler does that tries something else, and then fails of another reason.
    with pytest.raises(NotHere, match=why), limited(0.05, "compiling"):
        with contextlib.suppress(RuntimeError):
            time.sleep(5)
        try:
            time.sleep(5)
        except RuntimeError as error:
            raise KeyError("backend failed") from error
    with pytest.raises(KeyError), limited(5, "compiling"):
        raise KeyError("its own")
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
    pytest.importorskip("torch", reason="the reference is in torch")
    from model_inputs import equal_answers

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
