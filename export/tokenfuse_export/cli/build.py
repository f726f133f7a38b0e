"""`tokenfuse build`: TensorRT engines of a bundle."""

from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from tokenfuse_export.choices import CURRENT, MAX_BATCH
from tokenfuse_export.cli.lists import Integers, Targets
from tokenfuse_export.cli.output import existing_output_told
from tokenfuse_sdk.cli.options import FilledPath
from tokenfuse_sdk.engine_key import ENGINE_PRECISIONS, FLAVOURS

if TYPE_CHECKING:
    from tokenfuse_export.tensorrt.report import BuildReport

__all__ = ["build"]


@click.command()
@click.option("-m", "--model", default="scenes-nano", show_default=True, help="Or a bundle's path.")
@click.option("-o", "--output", type=FilledPath(path_type=pathlib.Path), required=True)
@click.option(
    "--precision", type=click.Choice(tuple(ENGINE_PRECISIONS)), default="fp16", show_default=True
)
@click.option(
    "--target",
    "targets",
    type=Targets(),
    default=CURRENT,
    show_default=True,
    help="As sm_86,sm_89; current is this machine's GPU.",
)
@click.option(
    "--batch",
    "batches",
    type=Integers(1, MAX_BATCH),
    default="1",
    show_default=True,
    help="Pictures or questions of one call, as 1,8: a profile for each.",
)
@click.option(
    "--budget",
    "budgets",
    type=Integers(),
    default=None,
    help="Token budgets, as 4,16: a profile for each; default: all of the model's.",
)
@click.option(
    "--flavour",
    type=click.Choice(FLAVOURS),
    default=None,
    help="Default: the first that is installed.",
)
@click.option(
    "--timing-cache",
    type=FilledPath(path_type=pathlib.Path),
    default=None,
    help="A file that keeps what was timed for the next build; tensorrt alone has it.",
)
@click.option("--overwrite", is_flag=True, help="Replace a bundle at OUTPUT.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def build(
    model: str,
    output: pathlib.Path,
    precision: str,
    targets: tuple[str, ...],
    batches: tuple[int, ...],
    budgets: tuple[int, ...] | None,
    flavour: str | None,
    timing_cache: pathlib.Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Build TensorRT engines of a bundle, and write the bundle with them.

    OUTPUT may be the bundle itself, with --overwrite.
    """
    from tokenfuse_export.tensorrt.build import build_engines

    with (
        existing_output_told(output, overwrite=overwrite),
        _progress(shown=not as_json) as report,
    ):
        reports = build_engines(
            model,
            output,
            precision=precision,
            targets=targets,
            batches=batches,
            budgets=budgets,
            flavour=flavour,
            timing_cache=timing_cache,
            overwrite=overwrite,
            report=report,
        )
    if as_json:
        click.echo(json.dumps([report.to_dict() for report in reports], indent=1))
    else:
        _print(reports)
    click.echo(f"wrote {output} with {', '.join(report.name for report in reports)}", err=True)


@contextlib.contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[[str, str, float, str], None]]:
    """A bar for each engine, on standard error; none where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.fields[engine]}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal)) as bars:
        tasks: dict[str, int] = {}

        def report(target: str, graph: str, share: float, what: str) -> None:
            engine = f"{target} {graph}"
            if engine not in tasks:
                tasks[engine] = bars.add_task(what, total=1.0, engine=engine)
            bars.update(tasks[engine], completed=share, description=what)

        yield report


def _print(reports: tuple[BuildReport, ...]) -> None:
    from rich.console import Console

    from tokenfuse_export.tensorrt.report import report_table

    Console().print(report_table(reports))
    for report in reports:
        for warning in report.warnings:
            click.echo(f"{report.name}: warning: {warning}", err=True)
