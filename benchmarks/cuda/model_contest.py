"""The whole answer at one batch: all ways in all precisions, checked, then timed in turns."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Protocol

import numpy as np
from gpu import DryDevice, Gpu
from gpu_contest import Entrant, limited, open_all, take_turns
from gpu_report import GpuRow, gpu_row
from gpu_work import Peaks, model_work
from model_inputs import ModelInputs, equal_answers
from model_ours import OurModel
from model_torch import WAYS, TorchModel, TorchWay
from work import Floats, Ids, Inputs

__all__ = ["LOGIT_BOUND", "ModelContest"]

# Of the logits' root mean square, for the worst of all: stacks of 16-bit roundings with random
# weights stay below; anything that is wired wrong is beyond 1. The table has the figures.
LOGIT_BOUND = 0.5


class _Answerer(Protocol):
    def answer(self, inputs: Inputs) -> Ids: ...

    def times(self, inputs: Inputs) -> tuple[float, float]: ...


def _entrant(
    name: str, precision: str, answerer: _Answerer, logits_BAV: Floats, inputs: Inputs
) -> Entrant:
    worst, relative = inputs.error_of(logits_BAV)
    if not relative < LOGIT_BOUND:
        raise ValueError(f"its logits are off by {relative:.1e} of their root mean square")
    # Twice: the first call may record what the second one replays.
    answerer.answer(inputs)
    answers = equal_answers(inputs, answerer.answer(inputs), logits_BAV)

    def wall() -> float:
        began = time.perf_counter()
        answerer.answer(inputs)
        return time.perf_counter() - began

    return Entrant(
        name=name,
        precision=precision,
        wall=wall,
        device=lambda: answerer.times(inputs),
        max_abs_err=worst,
        relative_err=relative,
        timed="call",
        answers=answers,
    )


class ModelContest:
    """One model; engines and modules are opened once for all batches."""

    def __init__(
        self,
        gpu: Gpu | DryDevice,
        module: ModuleType | None,
        model: ModelInputs,
        *,
        compile_seconds: float,
    ) -> None:
        self._gpu, self._module, self._model = gpu, module, model
        self._compile_seconds = compile_seconds
        self._ours: dict[str, OurModel] = {}
        self._torch: dict[str, TorchModel] = {}
        self._most = len(model.inputs.text_BL)

    def _open_ours(self, precision: str, inputs: Inputs) -> Entrant:
        assert self._module is not None
        if precision not in self._ours:
            self._ours[precision] = OurModel(self._module, self._model, precision, self._most)
        ours = self._ours[precision]
        return _entrant("tokenfuse", precision, ours, ours.logits(inputs), inputs)

    def _open_torch(self, way: str, precision: str, inputs: Inputs) -> Entrant:
        if precision not in self._torch:
            self._torch[precision] = TorchModel(self._gpu, self._model, precision)
        model = self._torch[precision]
        logits = model.logits(inputs)
        with limited(self._compile_seconds if way == "compile" else 0.0, "compiling"):
            return _entrant(f"torch {way}", precision, TorchWay(model, way, inputs), logits, inputs)

    def _openers(
        self, precisions: Sequence[str], inputs: Inputs
    ) -> dict[str, Callable[[], Entrant]]:
        openers: dict[str, Callable[[], Entrant]] = {}
        for precision in precisions:
            if self._module is not None:
                openers[f"tokenfuse {precision}"] = lambda p=precision: self._open_ours(p, inputs)
            for way in WAYS:
                if way != "compile" or self._compile_seconds:
                    openers[f"torch {way} {precision}"] = lambda w=way, p=precision: (
                        self._open_torch(w, p, inputs)
                    )
        return openers

    def rows(
        self,
        batch: int,
        precisions: Sequence[str],
        peaks: Peaks,
        *,
        rounds: int,
        turn_seconds: float,
    ) -> tuple[list[GpuRow], dict[str, str]]:
        """Rows of those that run, and why the others do not."""
        inputs = self._model.batch(batch)
        inputs = dataclasses.replace(inputs, text_BL=np.ascontiguousarray(inputs.text_BL))
        entrants, absent = open_all(self._openers(precisions, inputs))
        timed = take_turns(entrants, absent, rounds=rounds, turn_seconds=turn_seconds)
        work = model_work(self._model.config, batch)
        config = self._model.config
        shape = f"B {batch}, {config.vision.image_size}^2, N {config.fusion.num_latents}"
        rows = [
            gpu_row(
                dataclasses.replace(told.row, batch=batch),
                op="answer",
                shape=shape,
                timed=entrant.timed,
                device_ms=told.device_ms,
                launch_ms=told.launch_ms,
                work=work,
                peaks=peaks,
                answers=entrant.answers,
            )
            for entrant, told in timed
        ]
        return rows, absent
