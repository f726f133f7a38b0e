"""Tables and plots of docs/results/ from the results that the experiments stored.

    python benchmarks/experiments/tables.py [--results DIR] [--docs DIR]

A page's prose is written by hand; only what stands between `<!-- table NAME -->` and
`<!-- end -->` is replaced. A page that is not there is begun.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from plots import plot_results
from results import RESULTS, by_variant

from tokenfuse_sdk.config import FUSION_KINDS
from tokenfuse_sdk.flops import count_flops
from tokenfuse_sdk.sizes import named_config

__all__ = [
    "PAGES",
    "ablation_rows",
    "accuracy_table",
    "fusion_tables",
    "in_page",
    "mean_and_spread",
    "newest",
    "sampler_rows",
]

_DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "results"
_MARK = "<!-- table {} -->\n.*?<!-- end -->\n"


def mean_and_spread(values: Sequence[float], digits: int = 1, scale: float = 100.0) -> str:
    """`78.9 ± 0.4`: mean and standard deviation over seeds (of one seed, no spread)."""
    mean = scale * statistics.mean(values)
    if len(values) < 2:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {scale * statistics.stdev(values):.{digits}f}"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _one(values: Sequence[Mapping[str, Any]], key: str) -> Any:
    """What all runs of a variant have alike."""
    (value,) = {run[key] for run in values}
    return value


def _against(value: float, reference: float) -> str:
    return f"{100 * (value / reference - 1):+.0f}%"


def accuracy_table(data: Mapping[str, Any]) -> dict[str, str]:
    """Accuracy and FLOPs of the methods."""
    runs = by_variant(data)
    kinds = [kind for kind in FUSION_KINDS if kind in runs]
    families = sorted({name for kind in kinds for run in runs[kind] for name in run["by_family"]})
    most = _one(runs["concat"], "gflops") if "concat" in runs else None
    rows = [
        [
            f"`{kind}`",
            mean_and_spread([run["accuracy"] for run in runs[kind]]),
            *[
                mean_and_spread([run["by_family"][name] for run in runs[kind]], 0)
                for name in families
            ],
            f"{_one(runs[kind], 'num_parameters') / 1e3:,.0f}k",
            f"{_one(runs[kind], 'gflops'):.4f} ({_one(runs[kind], 'gmacs'):.4f})",
            _against(_one(runs[kind], "gflops"), most) if most else "",
            str(len(runs[kind])),
        ]
        for kind in kinds
    ]
    titles = ["method", "accuracy, %", *families, "parameters", "GFLOPs (GMACs)", "to concat"]
    return {"accuracy": _table([*titles, "seeds"], rows)}


def fusion_tables(data: Mapping[str, Any]) -> dict[str, str]:
    """Accuracy, what a step costs, and FLOPs at the paper's size, of the five methods."""
    tables = accuracy_table(data)
    for scale, cost in data["costs"].items():
        times, memory = cost["times"]["contestants"], cost["memory"]
        reference = memory["concat"]["step_mb"]
        rows = [
            [
                f"`{kind}`",
                f"{times[kind]['median_us'] / 1e3:,.0f}",
                "{:.2f} [{:.2f}, {:.2f}]".format(
                    times[kind]["times_faster_than_concat"], *times[kind]["ratio_quartiles"]
                ),
                f"{memory[kind]['step_mb']:,.0f}",
                _against(memory[kind]["step_mb"], reference),
                f"{memory[kind]['peak_mb']:,.0f}",
            ]
            for kind in FUSION_KINDS
        ]
        titles = ["method", "ms a step", "times faster than concat", "MB of a step", "to concat"]
        tables[f"costs-{scale}"] = _table([*titles, "MB in all"], rows)
    base = named_config("base")
    reports = {kind: count_flops(_of_kind(base, kind)) for kind in FUSION_KINDS}
    concat = reports["concat"].total_flops
    tables["paper-size"] = _table(
        ["method", "GFLOPs (GMACs)", "to concat", "fusion only, GFLOPs"],
        [
            [
                f"`{kind}`",
                f"{report.total_flops / 1e9:.1f} ({report.total_macs / 1e9:.1f})",
                _against(report.total_flops, concat),
                f"{report.fusion_flops / 1e9:.1f}",
            ]
            for kind, report in reports.items()
        ],
    )
    return tables


def _of_kind(config: Any, kind: str) -> Any:
    import dataclasses

    return dataclasses.replace(config, fusion=dataclasses.replace(config.fusion, kind=kind))


# Tables of the paper's, and which run stands for the default in each.
_ABLATIONS = {
    "iterations": (("M = 1", "M = 1"), ("M = 2", "M = 2"), ("M = 4", "default"), ("M = 8",) * 2),
    "latents": (
        ("N = 4",) * 2,
        ("N = 8",) * 2,
        ("N = 16", "default"),
        ("N = 32",) * 2,
        ("N = 64",) * 2,
    ),
    "resampling": (("latent", "default"), ("spatial",) * 2),
    "combination": (("weighted", "default"), ("residual",) * 2, ("none",) * 2),
}


def ablation_rows(data: Mapping[str, Any]) -> dict[str, str]:
    """The four tables of ablations."""
    runs = by_variant(data)
    return {
        name: _table(
            [name, "accuracy, %", "GFLOPs (GMACs)", "parameters", "seeds"],
            [
                [
                    title,
                    mean_and_spread([run["accuracy"] for run in runs[variant]]),
                    f"{_one(runs[variant], 'gflops'):.4f} ({_one(runs[variant], 'gmacs'):.4f})",
                    f"{_one(runs[variant], 'num_parameters') / 1e3:,.0f}k",
                    str(len(runs[variant])),
                ]
                for title, variant in entries
                if variant in runs
            ],
        )
        for name, entries in _ABLATIONS.items()
    }


def samples_to(curve: Sequence[Mapping[str, Any]], accuracy: float) -> float | None:
    """Samples at which a curve first reaches an accuracy, on straight lines between its points."""
    before = {"samples": 0, "accuracy": 0.0}
    for point in curve:
        if point["accuracy"] >= accuracy:
            rise = point["accuracy"] - before["accuracy"]
            part = (accuracy - before["accuracy"]) / rise if rise > 0 else 1.0
            return before["samples"] + part * (point["samples"] - before["samples"])
        before = point
    return None


def sampler_rows(data: Mapping[str, Any]) -> dict[str, str]:
    """Last accuracy, and samples to stratified's last accuracy of the same seed."""
    runs = by_variant(data)
    bar = {run["seed"]: run["accuracy"] for run in runs.get("stratified", ())}
    rows = []
    for kind, own in runs.items():
        reached = [samples_to(run["curve"], bar[run["seed"]]) for run in own if run["seed"] in bar]
        told = [samples for samples in reached if samples is not None]
        rows.append(
            [
                f"`{kind}`",
                mean_and_spread([run["accuracy"] for run in own]),
                mean_and_spread(told, 0, 1.0) if told else "never",
                f"{len(told)} of {len(reached)}",
                *[
                    mean_and_spread([run["curve"][-1]["by_task"][task] for run in own], 0)
                    for task in own[0]["curve"][-1]["by_task"]
                ],
            ]
        )
    tasks = list(next(iter(runs.values()))[0]["curve"][-1]["by_task"]) if runs else []
    titles = ["sampler", "last accuracy, %", "samples to stratified's last", "seeds that reach it"]
    return {"samplers": _table([*titles, *tasks], rows)}


def in_page(page: pathlib.Path, title: str, tables: Mapping[str, str]) -> None:
    """Put tables into a page between their marks; those that it has not are added at its end."""
    text = page.read_text(encoding="utf-8") if page.exists() else f"# {title}\n"
    for name, table in tables.items():
        marked = f"<!-- table {name} -->\n{table}<!-- end -->\n"
        text, count = re.subn(
            _MARK.format(re.escape(name)), lambda _, marked=marked: marked, text, flags=re.DOTALL
        )
        if not count:
            text += f"\n## {name.capitalize().replace('-', ' ')}\n{marked}"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")


# Name of an experiment: title of its page, and what makes its tables.
PAGES = {
    "fusion-methods": ("Five ways of fusing", fusion_tables),
    "longer-training": ("Trained three times as long", accuracy_table),
    "ablations": ("Ablations", ablation_rows),
    "samplers": ("Five samplers", sampler_rows),
}


def newest(folder: pathlib.Path, experiment: str) -> pathlib.Path | None:
    """The newest results of an experiment, by the date in their name."""
    files = folder.glob(f"{experiment}_*.json")
    return max(files, key=lambda path: path.stem[-10:], default=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--docs", type=pathlib.Path, default=_DOCS)
    options = parser.parse_args()
    for name, (title, tables) in PAGES.items():
        file = newest(options.results, name)
        if file is None:
            continue
        data = json.loads(file.read_text())
        in_page(options.docs / f"{name}.md", title, tables(data))
        plot_results(data, options.docs / f"{name}.png")
        print(f"{file.name} -> {options.docs / name}.md, .png")


if __name__ == "__main__":
    main()
