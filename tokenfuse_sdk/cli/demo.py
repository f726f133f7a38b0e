"""`tokenfuse demo`: the shipped model, asked about the shipped pictures."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import click

from tokenfuse_sdk.cli.options import FilledPath, model_options

__all__ = ["demo"]

_DEFAULT_OUTPUT = pathlib.Path("tokenfuse-demo.png")


@click.command()
@model_options
@click.option(
    "-o",
    "--output",
    type=FilledPath(path_type=pathlib.Path, dir_okay=False),
    help=f"The picture with the answers. [{_DEFAULT_OUTPUT}]",
)
@click.option("--overwrite", is_flag=True, help="Replace the picture if it is there.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def demo(
    model_name: str,
    backend: str,
    device: str,
    precision: str | None,
    token_budget: int | None,
    num_threads: int | None,
    output: pathlib.Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Ask the shipped model about the shipped pictures.

    Prints questions, answers, confidences and times, and writes one picture with
    the answers.
    """
    import tokenfuse_sdk
    from tokenfuse_sdk.errors import OutputExistsError
    from tokenfuse_sdk.shipped import example_questions

    if output is not None and output.exists() and not overwrite:
        raise OutputExistsError(f"{output} exists; pass --overwrite or another --output")
    questions = example_questions()
    rows: list[dict[str, Any]] = []
    with tokenfuse_sdk.load(
        model_name,
        backend=backend,
        device=device,
        precision=precision,
        token_budget=token_budget,
        num_threads=num_threads,
    ) as model:
        images = tokenfuse_sdk.example_images()
        # The first call of a process pays for page faults and waking threads.
        model.answer(images[0], questions[images[0].name][0]["question"])
        for image in images:
            asked = questions[image.name]
            answers = model.answer_many(image, [one["question"] for one in asked])
            for one, answer in zip(asked, answers, strict=True):
                right = answer.text == one["answer"]
                row = {"image": image.name, "truth": one["answer"], "right": right}
                rows.append(row | answer.to_dict())
        info = model.info
    # The answers first: a folder that cannot be written must not cost them.
    if as_json:
        click.echo(json.dumps({"model": info.to_dict(), "answers": rows}, indent=2))
    else:
        _print_rows(rows)
        right = sum(row["right"] for row in rows)
        threads = f"{info.num_threads} threads, " if info.num_threads else ""
        click.echo(
            f"{right} of {len(rows)} right; {info.name} on {info.device} "
            f"({info.isa or info.backend}, {threads}{info.precision}, N = {info.token_budget})"
        )
    written = _write_picture(rows, output, overwrite)
    if written is not None:
        click.echo(f"wrote {written}", err=True)
    else:
        click.echo(f"{_DEFAULT_OUTPUT} exists and was kept; --overwrite replaces it", err=True)


def _write_picture(
    rows: list[dict[str, Any]], output: pathlib.Path | None, overwrite: bool
) -> pathlib.Path | None:
    """The path written, or None where the default one was there already."""
    import tokenfuse_sdk
    from tokenfuse_sdk.atomic import write_output
    from tokenfuse_sdk.cli.contact_sheet import contact_sheet

    target = output or _DEFAULT_OUTPUT
    if output is None and target.exists() and not overwrite:
        return None
    entries = [
        (image, [(r["question"], _marked(r)) for r in rows if r["image"] == image.name])
        for image in tokenfuse_sdk.example_images()
    ]
    sheet = contact_sheet(entries)
    write_output(target, sheet, what="the picture", other="another --output")
    return target


def _marked(row: dict[str, Any]) -> str:
    return str(row["text"]) if row["right"] else f"{row['text']} (wrong: {row['truth']})"


def _print_rows(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("picture", "question", "answer", ""):
        table.add_column(title, no_wrap=True)
    for title in ("sure", "encode ms", "answer ms"):
        table.add_column(title, justify="right", no_wrap=True)
    last = ""
    for row in rows:
        encode = row["timings"]["encode_image_ms"]
        table.add_row(
            row["image"] if row["image"] != last else "",
            row["question"],
            row["text"],
            "" if row["right"] else f"wrong: {row['truth']}",
            f"{100 * row['confidence']:.0f}%",
            f"{encode:.2f}" if encode else "",
            f"{row['timings']['generate_ms']:.2f}",
        )
        last = row["image"]
    console = Console()
    # A file or a pipe has no width: let the table have what it needs.
    Console(width=None if console.is_terminal else 132).print(table)
