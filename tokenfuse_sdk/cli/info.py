"""`tokenfuse info`: what a bundle holds and where it would run."""

from __future__ import annotations

import json

import click

from tokenfuse_sdk.cli.options import model_options

__all__ = ["info"]


@click.command()
@model_options
@click.option("--card", is_flag=True, help="Print the model card as well.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def info(
    model_name: str,
    device: str,
    precision: str | None,
    token_budget: int | None,
    num_threads: int | None,
    card: bool,
    as_json: bool,
) -> None:
    """Verify a model's bundle, load it, and print its facts."""
    import tokenfuse_sdk

    with tokenfuse_sdk.load(
        model_name,
        device=device,
        precision=precision,
        token_budget=token_budget,
        num_threads=num_threads,
    ) as model:
        facts = model.info.to_dict() | {"memory": model.memory_report()}
        text = model.card
    if as_json:
        click.echo(json.dumps(facts | ({"card": text} if card else {}), indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None)
    memory = facts.pop("memory")
    for name, value in facts.items():
        shown = f"{value:,}" if name == "num_parameters" else str(value)
        table.add_row(name, shown)
    for name, value in memory.items():
        table.add_row(name, f"{value:,}")
    Console(soft_wrap=True).print(table)
    if card:
        click.echo(f"\n{text}")
