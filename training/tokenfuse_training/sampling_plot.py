"""A picture of how a run's sampler shared out its tasks, from the run's log."""

from __future__ import annotations

import io
import itertools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tokenfuse_sdk.atomic import write_output
from tokenfuse_sdk.errors import BundleFormatError
from tokenfuse_sdk.plain_file import read_plain_file
from tokenfuse_sdk.strict_json import parse_object
from tokenfuse_training.errors import DataError

__all__ = ["Course", "plot_sampling", "read_courses"]

_MAX_BYTES = 1 << 28
# What the log's keys begin with, to what it is: a panel for each that the log has.
_PANELS = {
    "probability": "share of a step's pictures",
    "task_loss": "loss per token (nats)",
    "difficulty": "difficulty",
    "reward": "reward",
}

# Steps and values of one task.
Course = tuple[list[int], list[float]]


def plot_sampling(log: pathlib.Path, png: pathlib.Path) -> None:
    """Probabilities, losses, difficulties and rewards of each task over steps, as a PNG.

    Args:
        log: the run's `log.jsonl`; keys `probability/<task>` and so on.
        png: where to write it.

    Raises:
        DataError: the log cannot be read, or tells of no sampler.
        OutputPathError: no file can be made at `png`.
    """
    courses = read_courses(log)
    write_output(png, _draw(courses), what="the plot", other="another path")


def read_courses(log: pathlib.Path) -> dict[str, dict[str, Course]]:
    """Panel to task to course; only panels that the log has.

    Raises:
        DataError: as `plot_sampling`.
    """
    courses: dict[str, dict[str, Course]] = {}
    for line in _lines(log):
        step = line.get("step")
        if not isinstance(step, int) or isinstance(step, bool):
            raise DataError(f"{log} has a line with step={step!r}; need an integer in each")
        for key, value in line.items():
            panel, _, task = key.partition("/")
            if panel not in _PANELS or not task:
                continue
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise DataError(f"{log}, step {step}: {key} is {value!r}; need a number")
            steps, values = courses.setdefault(panel, {}).setdefault(task, ([], []))
            steps.append(step)
            values.append(float(value))
    if "probability" not in courses:
        raise DataError(f"{log} has no key probability/<task>; need the log.jsonl of a run")
    return {panel: courses[panel] for panel in _PANELS if panel in courses}


def _lines(log: pathlib.Path) -> list[dict[str, Any]]:
    try:
        data = read_plain_file(log, max_bytes=_MAX_BYTES)
    except (OSError, ValueError) as error:
        raise DataError(f"the log {log} cannot be read: {error}") from error
    # A run that goes on, or was killed, may have written half of its last line.
    whole = data[: data.rfind(b"\n") + 1].splitlines()
    try:
        return [parse_object(line, f"{log}, line {n}") for n, line in enumerate(whole, 1)]
    except BundleFormatError as error:
        raise DataError(f"{error}; need the log.jsonl of a run") from error


def _draw(courses: Mapping[str, Mapping[str, Course]]) -> bytes:
    # Not pyplot: that keeps figures and a backend for the whole process.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.6 + 2.4 * len(courses)), layout="constrained")
    grid = figure.subplots(len(courses), squeeze=False, sharex=True)[:, 0]
    tasks = list(dict.fromkeys(task for panel in courses.values() for task in panel))
    for axes, (panel, by_task) in zip(grid, courses.items(), strict=True):
        for task, (steps, values) in by_task.items():
            color = f"C{tasks.index(task) % 10}"
            xs, ys = _broken(steps, values)
            axes.plot(xs, ys, label=task, color=color, marker=".", markevery=_alone(ys))
        axes.set_ylabel(_PANELS[panel])
        axes.spines[["top", "right"]].set_visible(False)
        if panel in ("probability", "difficulty"):
            axes.set_ylim(bottom=0.0)
    grid[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    grid[-1].set_xlabel("step")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()


def _broken(steps: Sequence[int], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """A gap where a task was not there for a while: another stage, which has not that task."""
    usual = min((b - a for a, b in itertools.pairwise(steps)), default=0)
    xs: list[float] = []
    ys: list[float] = []
    for place, (step, value) in enumerate(zip(steps, values, strict=True)):
        # Stages rarely end where a line is due, so some lines are late.
        if place and step - steps[place - 1] > 4 * usual:
            xs.append(float(step))
            ys.append(float("nan"))
        xs.append(float(step))
        ys.append(value)
    return xs, ys


def _alone(ys: Sequence[float]) -> list[int]:
    """Places of values between gaps, as that of a short stage: no line would show them."""
    gaps = [True, *map(math.isnan, ys), True]
    return [place for place in range(len(ys)) if gaps[place] and gaps[place + 2]]
