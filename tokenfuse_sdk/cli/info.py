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
    backend: str,
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
        backend=backend,
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
    memory = facts.pop("memory")
    width = max(map(len, facts))
    for name, value in (facts | memory).items():
        shown = f"{value:,}" if name == "num_parameters" or name in memory else str(value)
        if isinstance(value, list):
            shown = ", ".join(map(str, value)) or "none"
        click.echo(f"{name:<{width}}  {shown}")
    if card:
        click.echo(f"\n{text}")
