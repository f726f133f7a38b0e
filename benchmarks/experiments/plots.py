"""An experiment's results as a picture: accuracy over FLOPs, or over samples on the way."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from results import by_variant

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_results"]

Runs = Mapping[str, Sequence[Mapping[str, Any]]]


def plot_results(data: Mapping[str, Any], png: pathlib.Path) -> None:
    """Draw all variants of an experiment: means over seeds, with the range of them."""
    # Not pyplot: that keeps figures and a backend for the whole process.
    from matplotlib.figure import Figure

    runs = by_variant(data)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    if all("curve" in run for own in runs.values() for run in own):
        _courses(axes, runs)
    else:
        _costs(axes, runs)
    axes.set_ylabel("accuracy, %")
    axes.grid(alpha=0.3)
    png.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(png, dpi=100)


def _courses(axes: Axes, runs: Runs) -> None:
    for name, own in runs.items():
        samples = [point["samples"] for point in own[0]["curve"]]
        percent = np.array([[100 * point["accuracy"] for point in run["curve"]] for run in own])
        (line,) = axes.plot(samples, percent.mean(axis=0), label=name)
        low, high = percent.min(axis=0), percent.max(axis=0)
        axes.fill_between(samples, low, high, color=line.get_color(), alpha=0.15)
    axes.set_xlabel("samples")
    axes.legend()


def _costs(axes: Axes, runs: Runs) -> None:
    """A point with its name at each mean, and the seeds as small ones."""
    for index, (name, own) in enumerate(runs.items()):
        percent = [100 * run["accuracy"] for run in own]
        gflops = own[0]["gflops"]
        color = f"C{index % 10}"
        axes.plot([gflops] * len(own), percent, ".", color=color, alpha=0.4)
        axes.plot(gflops, np.mean(percent), "D", color=color)
        where = {"xytext": (7, 0), "textcoords": "offset points", "va": "center", "size": 9}
        axes.annotate(name, (gflops, float(np.mean(percent))), **where)
    axes.margins(x=0.15)
    axes.set_xlabel("GFLOPs of a question with its picture")
