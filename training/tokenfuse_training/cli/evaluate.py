"""`tokenfuse evaluate`: accuracy of a bundle on unseen scenes, through the SDK itself."""

from __future__ import annotations

import json

import click

from tokenfuse_sdk.cli.options import PRECISION_HELP, backend_option

__all__ = ["evaluate"]


@click.command()
@click.option("-m", "--model", "model_name", default="scenes-nano", show_default=True)
@click.option("--split", type=click.Choice(["val", "test"]), default="test", show_default=True)
@click.option("--num-questions", type=click.IntRange(min=1), default=2_000, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=None, help="Of the scenes.")
@click.option("--token-budget", type=int, multiple=True, help="Repeatable; default: all.")
@backend_option
@click.option("--device", default="auto", show_default=True)
@click.option("--precision", default=None, help=PRECISION_HELP)
@click.option("--num-threads", type=click.IntRange(min=1), default=None)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def evaluate(
    model_name: str,
    split: str,
    num_questions: int,
    seed: int | None,
    token_budget: tuple[int, ...],
    backend: str,
    device: str,
    precision: str | None,
    num_threads: int | None,
    as_json: bool,
) -> None:
    """Ask a model questions about scenes it has not seen, and count the right answers.

    The pictures go through the same `Model` that an application uses.
    """
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    import tokenfuse_sdk
    from tokenfuse_training.ask import ask_scenes

    console = Console(stderr=True)
    with tokenfuse_sdk.load(
        model_name,
        backend=backend,
        device=device,
        precision=precision,
        num_threads=num_threads,
    ) as model:
        chosen = model.precision
        budgets = token_budget or model.config.fusion.token_budgets
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("asking", total=num_questions)
            accuracies = ask_scenes(
                model,
                split=split,
                num_questions=num_questions,
                token_budgets=budgets,
                seed=seed,
                report=lambda done: progress.update(task, completed=done),
            )
    if as_json:
        rows = [accuracy.to_dict() for accuracy in accuracies]
        facts = {"model": model_name, "split": split, "precision": chosen, "accuracy": rows}
        click.echo(json.dumps(facts, indent=2))
        return
    title = f"{model_name} in {chosen}"
    table = Table("family", *(f"N = {a.token_budget}" for a in accuracies), title=title)
    for family in accuracies[0].by_family:
        table.add_row(family, *(f"{100 * a.by_family[family]:.1f}" for a in accuracies))
    table.add_section()
    table.add_row("overall", *(f"{100 * a.overall:.1f}" for a in accuracies))
    Console().print(table)
