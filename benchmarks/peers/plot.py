"""The medians as bars, one panel for each batch size and number of threads."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from report import Row

__all__ = ["save_plot"]

_OURS, _PEER = "#d1495b", "#8d99ae"


def _panel(axes: Any, title: str, rows: Sequence[Row]) -> None:
    ordered = sorted(rows, key=lambda row: -row.median_ms)
    medians = [row.median_ms for row in ordered]
    spread = [
        [row.median_ms - row.quartiles_ms[0] for row in ordered],
        [row.quartiles_ms[1] - row.median_ms for row in ordered],
    ]
    colors = [_OURS if row.is_ours else _PEER for row in ordered]
    labels = [row.label for row in ordered]
    bars = axes.barh(labels, medians, xerr=spread, color=colors, error_kw={"lw": 1})
    axes.bar_label(bars, labels=[f"{value:.2f}" for value in medians], padding=6, fontsize=8)
    axes.set_xlabel("milliseconds, median and quartiles (less is better)")
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)


def save_plot(path: pathlib.Path, title: str, panels: Mapping[str, Sequence[Row]]) -> None:
    """A PNG; the fastest stands on top of each panel."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = {name: rows for name, rows in panels.items() if rows}
    heights = [1.0 + 0.36 * len(rows) for rows in shown.values()]
    figure, grid = pyplot.subplots(
        len(shown),
        figsize=(8, 0.5 + sum(heights)),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
    )
    for axes, (name, rows) in zip(grid[:, 0], shown.items(), strict=True):
        _panel(axes, name, rows)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, format="png", dpi=150)
    pyplot.close(figure)
