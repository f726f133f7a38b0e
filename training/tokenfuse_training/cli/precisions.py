"""`tokenfuse precisions`: measure which precisions answer like fp32, and record it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from tokenfuse_sdk.bundle import MAX_QUESTIONS, MAX_SEED, MIN_QUESTIONS

if TYPE_CHECKING:
    from tokenfuse_sdk.bundle import PrecisionRecord

__all__ = ["precisions"]


@click.command()
@click.argument("bundle")
@click.option("--split", type=click.Choice(["val", "test"]), default="test", show_default=True)
@click.option(
    "--num-questions",
    type=click.IntRange(MIN_QUESTIONS, MAX_QUESTIONS),
    # NUM_QUESTIONS: its module needs the extra, and `tokenfuse --help` reads this one without it.
    default=2_000,
    show_default=True,
)
@click.option("--seed", type=click.IntRange(0, MAX_SEED), default=None, help="Of the scenes.")
@click.option("--num-threads", type=click.IntRange(1, 1024), default=None)
@click.option("--overwrite", is_flag=True, help="Replace a record that is there.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def precisions(
    bundle: str,
    split: str,
    num_questions: int,
    seed: int | None,
    num_threads: int | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Ask BUNDLE unseen scenes in every precision, and record which answer like fp32.

    The record becomes a part of the bundle. Where nobody asks for a precision, a model runs in
    the fastest one that passes.
    """
    from tokenfuse_sdk.errors import BundleExistsError, OutputExistsError
    from tokenfuse_sdk.shipped import find_bundle
    from tokenfuse_training.precisions import record_measured

    path = find_bundle(bundle)
    try:
        record = record_measured(
            path,
            split=split,
            num_questions=num_questions,
            seed=seed,
            num_threads=num_threads,
            overwrite=overwrite,
        )
    except BundleExistsError as error:
        raise OutputExistsError(
            f"{path} has a record of its precisions; pass --overwrite to measure again"
        ) from error
    if as_json:
        passed = [name for name in record.counts if record.passes(name)]
        click.echo(json.dumps(record.to_dict() | {"passed": passed}, indent=2))
    else:
        _print(bundle, record)
    click.echo(f"wrote the record into {path}", err=True)


def _print(title: str, record: PrecisionRecord) -> None:
    from rich.console import Console
    from rich.table import Table

    asked = f"{record.num_questions:,} questions, {record.isa}"
    table = Table("precision", "N", title=f"{title}: {asked}")
    for heading in ("as fp32, %", "right, %", "passes"):
        table.add_column(heading, justify="right")
    for name, counts in record.counts.items():
        for count in counts:
            shares = (f"{100 * n / record.num_questions:.2f}" for n in (count.same, count.right))
            table.add_row(
                name, str(count.token_budget), *shares, "yes" if record.passes(name) else "no"
            )
    Console().print(table)
