"""`tokenfuse evaluate`: accuracy of a bundle on unseen pictures, through the SDK itself."""

from __future__ import annotations

import contextlib
import json
import pathlib
from typing import TYPE_CHECKING, Any

import click

from tokenfuse_sdk.bundle import MAX_SEED
from tokenfuse_sdk.cli.options import PRECISION_HELP, FilledPath, backend_option
from tokenfuse_training.cli.asked import asked_options, asked_set

if TYPE_CHECKING:
    from tokenfuse_training.evaluation.asked_set import AskedSet
    from tokenfuse_training.evaluation.evaluate import Evaluation

__all__ = ["evaluate"]

_PREDICTIONS = "pass --predictions FILE to write what the model answers"


@click.command()
@click.option("-m", "--model", "model_name", default="scenes-nano", show_default=True)
@asked_options
@click.option(
    "--num-questions",
    type=click.IntRange(min=1),
    help="At most.  [default: 2000 of scenes, else the config's]",
)
@click.option("--seed", type=click.IntRange(0, MAX_SEED), default=None, help="Of scenes.")
@click.option("--token-budget", type=int, multiple=True, help="Repeatable; default: all.")
@click.option(
    "--predictions",
    type=FilledPath(path_type=pathlib.Path),
    help="Write the answers at the largest budget, as the data set's evaluation server reads them.",
)
@click.option("--overwrite", is_flag=True, help="Replace that file.")
@backend_option
@click.option("--device", default="auto", show_default=True)
@click.option("--precision", default=None, help=PRECISION_HELP)
@click.option("--num-threads", type=click.IntRange(min=1), default=None)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def evaluate(
    model_name: str,
    config: str | None,
    dataset: str | None,
    sets: tuple[str, ...],
    split: str | None,
    num_questions: int | None,
    seed: int | None,
    token_budget: tuple[int, ...],
    predictions: pathlib.Path | None,
    overwrite: bool,
    backend: str,
    device: str,
    precision: str | None,
    num_threads: int | None,
    as_json: bool,
) -> None:
    """Ask a model questions about pictures it has not seen, and score its answers.

    Scenes without --config, else a data set of it. The pictures go through the same `Model` that
    an application uses, by any backend.
    """
    import tokenfuse_sdk
    from tokenfuse_sdk.atomic import check_output_file, write_output
    from tokenfuse_sdk.errors import OutputExistsError
    from tokenfuse_training.evaluation.answerers import ModelAnswerer
    from tokenfuse_training.evaluation.evaluate import evaluate_set, predictions_json
    from tokenfuse_training.progress import bar

    file = {"what": "the predictions", "other": "another --predictions"}
    if predictions is not None:
        check_output_file(predictions, **file)
        if predictions.exists() and not overwrite:
            raise OutputExistsError(f"{predictions} exists already; pass --overwrite or another")
    asking = asked_set(
        config=config,
        dataset=dataset,
        sets=sets,
        split=split,
        seed=seed,
        num_questions=num_questions,
        default_questions=2_000,
    )
    with contextlib.ExitStack() as stack:
        asked = stack.enter_context(asking)
        _check_use(asked, predictions)
        model = stack.enter_context(
            tokenfuse_sdk.load(
                model_name,
                backend=backend,
                device=device,
                precision=precision,
                num_threads=num_threads,
            )
        )
        facts: dict[str, Any] = {
            "model": model_name,
            "data": asked.data,
            "split": asked.split,
            "task": asked.task,
        }
        facts |= {"backend": model.backend, "device": model.device, "precision": model.precision}
        with bar("asking", total=asked.num_questions or None) as update:
            done = evaluate_set(
                ModelAnswerer(model),
                asked,
                vision=model.config.vision,
                token_budgets=token_budget or model.info.token_budgets,
                report=lambda count: update(completed=count),
            )
            update(total=len(done.predictions), completed=len(done.predictions))
    if predictions is not None:
        write_output(predictions, predictions_json(asked.task, done.predictions), **file)
        click.echo(f"wrote {predictions}", err=True)
    if done.num_bad or done.num_refused:
        click.echo(
            f"{done.num_bad} pictures could not be read and were not asked; {done.num_refused} "
            "questions that the model does not take count as wrong",
            err=True,
        )
    if as_json:
        facts |= {"num_bad_pictures": done.num_bad, "num_refused": done.num_refused}
        rows = [accuracy.to_dict() for accuracy in done.accuracies]
        click.echo(json.dumps(facts | {"accuracy": rows}, indent=2))
    elif done.accuracies:
        _print(f"{model_name} in {facts['precision']}", done)
    else:
        said = "the data set tells no answers: there is no accuracy"
        # A format that tells only entry by entry whether there are answers.
        click.echo(said if predictions else f"{said}; {_PREDICTIONS}", err=True)


def _check_use(asked: AskedSet, predictions: pathlib.Path | None) -> None:
    from tokenfuse_sdk.errors import ConfigError

    if predictions is None and not asked.is_labelled:
        raise ConfigError(
            f"{asked.split} has no annotations, so there is no accuracy; {_PREDICTIONS}"
        )


def _print(title: str, done: Evaluation) -> None:
    from rich.console import Console
    from rich.table import Table

    accuracies = done.accuracies
    table = Table("family", *(f"N = {a.token_budget}" for a in accuracies), title=title)
    for family in accuracies[0].by_family:
        table.add_row(family, *(f"{100 * a.by_family[family]:.1f}" for a in accuracies))
    table.add_section()
    table.add_row("overall", *(f"{100 * a.overall:.1f}" for a in accuracies))
    intervals = (f"{100 * a.low:.1f} to {100 * a.high:.1f}" for a in accuracies)
    table.add_row("95% interval", *intervals)
    Console().print(table)
