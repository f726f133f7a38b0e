"""`tokenfuse verify`: does everything that can run a model here compute what PyTorch computes?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from tokenfuse_export.choices import RUNTIMES
from tokenfuse_export.cli.lists import Words
from tokenfuse_export.cli.status import status
from tokenfuse_sdk.graphs import GRAPH_PRECISIONS

if TYPE_CHECKING:
    from tokenfuse_export.verify import Row, Verification

__all__ = ["verify"]


@click.command()
@click.option("-m", "--model", default="scenes-nano", show_default=True, help="Or a bundle's path.")
@click.option(
    "--against",
    type=Words(RUNTIMES),
    default=None,
    help="As native,onnxruntime,openvino,tensorrt, and these must run; default: all that can.",
)
@click.option(
    "--precision",
    "precisions",
    type=Words(GRAPH_PRECISIONS),
    default=None,
    help="As fp32,int8, and these must run; default: all that are there.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.pass_context
def verify(
    ctx: click.Context,
    model: str,
    against: tuple[str, ...] | None,
    precisions: tuple[str, ...] | None,
    as_json: bool,
) -> None:
    """Run golden pictures and questions through PyTorch and through everything else.

    A row for each runtime and precision: the worst errors of image tokens, fused tokens and logits,
    and how many answers are the same. Exits with 1 where one that ran is beyond its bounds, or one
    that was named did not run.
    """
    from tokenfuse_export.verify import verify_bundle

    with status("PyTorch, the reference", shown=not as_json) as progress:
        found = verify_bundle(model, against=against, precisions=precisions, progress=progress)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=1))
    else:
        _print(found)
    if not found.passed:
        ctx.exit(1)


def _print(found: Verification) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"{found.model}: {found.num_inputs} inputs at each budget, beside PyTorch fp32",
        caption="worst error of an element and, below it, least cosine",
        box=box.SIMPLE,
    )
    for heading in ("runtime", "in"):
        table.add_column(heading, no_wrap=True)
    for heading in ("image\ntokens", "fused\ntokens", "logits", "answers"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in found.rows:
        if row.passed is not None:
            verdict = "passed" if row.passed else "FAILED"
            table.add_row(f"{row.runtime} {row.where}", row.precision, *_cells(row), verdict)
    Console().print(table)
    for row in found.rows:
        if row.passed is None:
            click.echo(f"not run: {row.title}: {row.reason}")
    for fault in found.faults:
        click.echo(f"FAILED: {fault}")


def _cells(row: Row) -> list[str]:
    if row.comparison is None:
        return ["-"] * 4
    cells = [f"{e.max_abs:.1e}\n{e.cosine:.5f}" for e in row.comparison.stages.values()]
    answers = row.comparison.answers
    ties = f"\n{answers.ties} ties" if answers.ties else ""
    return [*cells, f"{answers.same}/{answers.total}{ties}"]
