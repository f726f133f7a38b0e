"""One contestant in a process of its own: `worker.py prepare|turns|ask|start TASK`.

Speaks JSON, a line each, on its standard output; whatever a library prints goes to standard
error. `prepare` makes the files that opening needs. `turns` opens the contestant and then does
what it is told line by line. `start` opens it, answers once, and says so: the caller's clock
runs from before this process began. Then it answers a few times more and tells its peak memory.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from work import Contestant, Inputs, Task, until_end

_ANSWERS_FOR_MEMORY = 5


def _say(pipe: Any, **message: Any) -> None:
    pipe.write(json.dumps(message) + "\n")
    pipe.flush()


def missing(task: Task) -> list[str]:
    """Packages that the contestant needs and this Python has not."""
    module = importlib.import_module(task.module)
    wanted = list(module.PACKAGES)
    if module.GRAPHS_NEEDED and not (task.part_folder / "decoder.onnx").exists():
        wanted += ["onnx", "onnxscript", "onnxruntime"]
    if task.precision == "int8":
        wanted += module.QUANTISERS
    return [name for name in dict.fromkeys(wanted) if importlib.util.find_spec(name) is None]


def _works(contestant: Contestant, inputs: Inputs) -> dict[str, Callable[[], object]]:
    image, text = inputs.image_BHW3, inputs.text_BL
    f = contestant.encode(image)
    if (contestant.answer(f, text)[:, 0] == inputs.end_id).any():
        raise RuntimeError("an answer ended before its second step; the times would say nothing")
    return {
        "answer": lambda: contestant.answer(contestant.encode(image), text),
        "follow_up": lambda: contestant.answer(f, text),
    }


def _turn(call: Callable[[], object], repeats: int) -> list[float]:
    # The first call finds caches full of the others' data and threads asleep: not timed.
    call()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return seconds


def _die_with_the_caller() -> None:
    """A halted process does not notice that nobody will wake it again; Linux can kill it."""
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _turns(task: Task, pipe: Any) -> None:
    _die_with_the_caller()
    module, inputs = importlib.import_module(task.module), task.inputs()
    contestant: Contestant = module.open_contestant(task)
    f = contestant.encode(inputs.image_BHW3)
    logits = contestant.logits(f, inputs.text_BL, inputs.answer_BA)
    worst, relative = inputs.error_of(logits)
    works = _works(contestant, inputs)
    _say(pipe, max_abs_err=worst, relative_err=relative)
    for line in sys.stdin:
        order = json.loads(line)
        _say(pipe, seconds=_turn(works[order["work"]], order["repeats"]))


def _ask(task: Task, pipe: Any) -> None:
    module, test = importlib.import_module(task.module), task.questions()
    contestant: Contestant = module.open_contestant(task)
    same = right = 0
    f, picture_of_f = None, -1
    rows = zip(test.picture_Q, test.text_QL, test.answer_QA, test.right_QA, strict=True)
    for picture, text_L, answer_A, right_A in rows:
        if picture != picture_of_f:
            f, picture_of_f = contestant.encode(test.image_PHW3[picture][None]), picture
        got_A = until_end(contestant.answer(f, text_L[None]), int(test.end_id))[0]
        same += int(np.array_equal(got_A, answer_A))
        right += int(np.array_equal(got_A, right_A))
    _say(pipe, num_questions=len(test.text_QL), same=same, right=right)


def _peak_bytes() -> int:
    """The most that was resident. Not ru_maxrss, which begins with the parent's at the fork."""
    for line in pathlib.Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("/proc/self/status has no VmHWM")


def _start(task: Task, pipe: Any) -> None:
    module, inputs = importlib.import_module(task.module), task.inputs()
    contestant: Contestant = module.open_contestant(task)

    def answer() -> None:
        contestant.answer(contestant.encode(inputs.image_BHW3), inputs.text_BL)

    answer()
    _say(pipe, answered=True)
    for _ in range(_ANSWERS_FOR_MEMORY):
        answer()
    _say(pipe, peak_bytes=_peak_bytes())
    # The exit of a framework is not part of the question.
    os._exit(0)


def main() -> None:
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    mode, task = sys.argv[1], Task.from_json(sys.argv[2])
    if mode == "prepare":
        lacking = missing(task)
        if not lacking:
            importlib.import_module(task.module).prepare(task)
        _say(pipe, missing=lacking)
    elif mode == "turns":
        _turns(task, pipe)
    elif mode == "ask":
        _ask(task, pipe)
    else:
        assert mode == "start", mode
        _start(task, pipe)


if __name__ == "__main__":
    main()
