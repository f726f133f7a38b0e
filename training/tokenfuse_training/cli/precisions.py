"""`tokenfuse precisions`: measure which precisions answer like fp32, and record it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from tokenfuse_sdk.bundle import MAX_QUESTIONS, MAX_SEED, MIN_QUESTIONS
from tokenfuse_training.cli.asked import asked_options, asked_set

if TYPE_CHECKING:
    from tokenfuse_sdk.bundle import PrecisionRecord

__all__ = ["precisions"]


@click.command()
@click.argument("bundle")
@asked_options
@click.option(
    "--num-questions",
    type=click.IntRange(MIN_QUESTIONS, MAX_QUESTIONS),
    help="At most.  [default: 2000]",
)
@click.option("--seed", type=click.IntRange(0, MAX_SEED), default=None, help="Of scenes.")
@click.option("--num-threads", type=click.IntRange(1, 1024), default=None)
@click.option("--overwrite", is_flag=True, help="Replace a record that is there.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def precisions(
    bundle: str,
    config: str | None,
    dataset: str | None,
    sets: tuple[str, ...],
    split: str | None,
    num_questions: int | None,
    seed: int | None,
    num_threads: int | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Ask BUNDLE unseen pictures in every precision, and record which answer like fp32.

    Scenes without --config, else a data set of it. The record becomes a part of the bundle. Where
    nobody asks for a precision, a model runs in the fastest one that passes.
    """
    from tokenfuse_sdk.errors import BundleExistsError, OutputExistsError
    from tokenfuse_sdk.shipped import find_bundle
    from tokenfuse_training.publishing.precisions import NUM_QUESTIONS, record_measured

    path = find_bundle(bundle)
    asking = asked_set(
        config=config,
        dataset=dataset,
        sets=sets,
        split=split,
        seed=seed,
        num_questions=NUM_QUESTIONS if num_questions is None else num_questions,
        default_questions=NUM_QUESTIONS,
    )
    try:
        with asking as asked:
            record = record_measured(path, asked, num_threads=num_threads, overwrite=overwrite)
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

    asked = f"{record.num_questions:,} questions of {record.data}, {record.isa}"
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
