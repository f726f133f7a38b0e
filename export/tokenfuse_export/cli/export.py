"""`tokenfuse export`: a bundle with its ONNX graphs."""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING

import click

from tokenfuse_export.cli.output import existing_output_told
from tokenfuse_export.cli.status import status
from tokenfuse_sdk.cli.options import FilledPath
from tokenfuse_sdk.graphs import GRAPH_PRECISIONS

if TYPE_CHECKING:
    from tokenfuse_export.export import BundleExport

__all__ = ["export"]

# Of `to_onnx`, whose packages `tokenfuse --help` does without.
_DEFAULT_OPSET, _OPSETS = 20, (17, 23)


@click.command()
@click.option("-m", "--model", default="scenes-nano", show_default=True, help="Or a bundle's path.")
@click.option("-o", "--output", type=FilledPath(path_type=pathlib.Path), required=True)
@click.option("--to", type=click.Choice(["onnx"]), default="onnx", show_default=True)
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(GRAPH_PRECISIONS),
    multiple=True,
    default=("fp32",),
    show_default=True,
    help="Repeatable. int8 is for CPUs, int8_fp16 for GPUs.",
)
@click.option("--opset", type=click.IntRange(*_OPSETS), default=_DEFAULT_OPSET, show_default=True)
@click.option(
    "--calibration",
    type=FilledPath(path_type=pathlib.Path),
    default=None,
    help="A folder of pictures for int8; default: the bundle's golden ones, varied.",
)
@click.option("--overwrite", is_flag=True, help="Replace a bundle at OUTPUT.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def export(
    model: str,
    output: pathlib.Path,
    to: str,
    precisions: tuple[str, ...],
    opset: int,
    calibration: pathlib.Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write a bundle with its ONNX graphs, verified beside PyTorch.

    OUTPUT may be the bundle itself, with --overwrite.
    """
    from tokenfuse_export.export import export_bundle

    with (
        existing_output_told(output, overwrite=overwrite),
        status("reading the bundle", shown=not as_json) as progress,
    ):
        done = export_bundle(
            model,
            output,
            precisions=precisions,
            opset=opset,
            calibration=calibration,
            overwrite=overwrite,
            progress=progress,
        )
    if as_json:
        click.echo(json.dumps(_facts(done), indent=1))
    else:
        _print(done)
    click.echo(f"wrote {output} with {', '.join(done.verified)}", err=True)


def _facts(done: BundleExport) -> dict[str, object]:
    return {
        "path": str(done.path),
        "opset": done.opset,
        "files": [
            {"file": row.file, "size_bytes": row.num_bytes, "parity": row.parity}
            for row in done.files
        ],
        "verified": {name: found.to_dict() for name, found in done.verified.items()},
    }


def _print(done: BundleExport) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{done.path}, opset {done.opset}", box=box.SIMPLE)
    table.add_column("file", no_wrap=True)
    for heading in ("MB", "logits, beside PyTorch", "answers"):
        table.add_column(heading, justify="right")
    for row in done.files:
        table.add_row(row.file, f"{row.num_bytes / 1e6:.2f}", row.parity, row.answers)
    Console().print(table)
