"""The course of an experiment as a picture: mean over seeds, with the range of them."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["plot_curves"]


def _curve(run: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Samples and accuracy where it was measured on the way, else steps and loss."""
    if "curve" in run:
        return [p["samples"] for p in run["curve"]], [100 * p["accuracy"] for p in run["curve"]]
    return [step for step, _ in run["losses"]], [loss for _, loss in run["losses"]]


def plot_curves(data: Mapping[str, Any], png: pathlib.Path) -> None:
    """Draw all runs of an experiment's results, a line for each variant."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    by_variant: dict[str, list[tuple[list[float], list[float]]]] = {}
    for run in data["runs"].values():
        by_variant.setdefault(run["variant"], []).append(_curve(run))
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, curves in by_variant.items():
        x = curves[0][0]
        y = np.array([values for _, values in curves])
        (line,) = axes.plot(x, y.mean(axis=0), label=name)
        axes.fill_between(x, y.min(axis=0), y.max(axis=0), color=line.get_color(), alpha=0.15)
    measured = any("curve" in run for run in data["runs"].values())
    axes.set_xlabel("samples" if measured else "steps")
    axes.set_ylabel("accuracy, %" if measured else "training loss")
    axes.legend()
    axes.grid(alpha=0.3)
    png.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(png, dpi=120)
