"""merge_attention alone: every contestant checked against float64, then timed on the device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import ModuleType

import torch
from gpu import DryDevice, Gpu
from gpu_contest import Entrant, limited, open_all, take_turns
from gpu_report import GpuRow, gpu_row
from gpu_work import MergeShape, Peaks, least_work
from merge_inputs import MergeInputs
from merge_ours import our_folded, our_projected
from merge_torch import BACKENDS, compiled, folded_form, on_backend, projected_form

__all__ = ["MERGE_BOUNDS", "entrant_of", "merge_rows"]

# Of the truth's root mean square, in units of half a place of the dtype. Scores, weights, values,
# merged tokens and the result are each rounded by up to one; the worst of some 100,000 results is
# four to five standard deviations out: 20 in all. Measured are 4 to 10; wrong maths is off by 100s.
MERGE_BOUNDS = {"fp16": 20 * 2.0**-11, "bf16": 20 * 2.0**-8}

Form = Callable[[torch.Tensor], torch.Tensor]


def _forms(
    inputs: MergeInputs, module: ModuleType | None, *, compile_seconds: float
) -> dict[str, Callable[[], Form]]:
    """By name; ours come first."""
    forms: dict[str, Callable[[], Form]] = {}
    if module is not None:
        forms["tokenfuse folded"] = lambda: our_folded(inputs, module)
        forms["tokenfuse projected"] = lambda: our_projected(inputs, module)
    forms["torch sdpa"] = lambda: projected_form(inputs)
    for backend in BACKENDS:
        forms[f"torch sdpa {backend}"] = lambda backend=backend: on_backend(
            projected_form(inputs), backend
        )
    forms["torch folded sdpa"] = lambda: folded_form(inputs)
    if compile_seconds:
        forms["torch compile"] = lambda: compiled(projected_form(inputs))
        forms["torch compile folded"] = lambda: compiled(folded_form(inputs))
    return forms


def _judged(inputs: MergeInputs, f_BND: torch.Tensor) -> tuple[float, float]:
    worst, relative = inputs.error_of(f_BND)
    if not relative < MERGE_BOUNDS[inputs.precision]:
        raise ValueError(f"its result is off by {relative:.1e} of the root mean square")
    return worst, relative


def _recorded(inputs: MergeInputs, calls: list[Callable[[], object]]) -> tuple[Callable, str]:
    """The calls as one graph, or one after the other where they cannot be captured."""
    try:
        return inputs.gpu.recorded(calls), "graph"
    except RuntimeError as error:
        inputs.gpu.wait()
        reason = (str(error).splitlines() or ["no message"])[0]
        print(f"    no graph of it: {reason}", flush=True)

        def run() -> None:
            for call in calls:
                call()

        return run, "launches"


def entrant_of(inputs: MergeInputs, name: str, form: Form, seconds: float) -> Entrant:
    """A contestant that gives the truth, also where it is timed; it opens within the seconds.

    Raises:
        ValueError: it gives something else.
        NotHere: it takes longer, or has no such kernel.
    """
    gpu, count = inputs.gpu, len(inputs.tokens)
    with torch.inference_mode(), limited(seconds, "opening"):
        _judged(inputs, form(inputs.tokens[0]))
        results: list[torch.Tensor] = [torch.empty(0)] * count

        def call_of(i: int) -> Callable[[], object]:
            return lambda: results.__setitem__(i, form(inputs.tokens[i]))

        # Backwards: a contestant with one output has that of the first set in the end.
        run, timed = _recorded(inputs, [call_of(i) for i in reversed(range(count))])
        run()
        gpu.wait()
        worst, relative = _judged(inputs, results[0])

    def device() -> tuple[float, float]:
        with torch.inference_mode():
            on_device, asking = gpu.seconds(run, ahead=True)
        return on_device / count, asking / count

    return Entrant(
        name=name,
        precision=inputs.precision,
        wall=lambda: device()[0],
        device=device,
        max_abs_err=worst,
        relative_err=relative,
        timed=timed,
    )


def merge_rows(
    gpu: Gpu | DryDevice,
    module: ModuleType | None,
    shape: MergeShape,
    precision: str,
    peaks: Peaks,
    *,
    rounds: int,
    turn_seconds: float,
    compile_seconds: float,
) -> tuple[list[GpuRow], dict[str, str]]:
    """Rows of those that run, and why the others do not."""
    inputs = MergeInputs(gpu, shape, precision)
    openers = {
        f"{name} {precision}": lambda name=name, make=make: entrant_of(
            inputs, name, make(), compile_seconds if "compile" in name else 0.0
        )
        for name, make in _forms(inputs, module, compile_seconds=compile_seconds).items()
    }
    entrants, absent = open_all(openers)
    timed = take_turns(entrants, absent, rounds=rounds, turn_seconds=turn_seconds)
    work = least_work(shape, peaks, precision)
    rows = [
        gpu_row(
            dataclasses.replace(told.row, batch=shape.batch),
            op="merge_attention",
            shape=shape.name,
            timed=entrant.timed,
            device_ms=told.device_ms,
            launch_ms=told.launch_ms,
            work=work,
            peaks=peaks,
        )
        for entrant, told in timed
    ]
    return rows, absent
