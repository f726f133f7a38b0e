"""`tokenfuse train`: from a config to a bundle."""

from __future__ import annotations

import pathlib

import click

from tokenfuse_sdk.cli.options import FilledPath

__all__ = ["train"]


@click.command()
@click.argument("config")
@click.option("-o", "--output", type=FilledPath(path_type=pathlib.Path), required=True)
@click.option(
    "--work",
    type=FilledPath(path_type=pathlib.Path),
    help="Checkpoints, log and drawn scenes; a later run with it goes on.  [default: OUTPUT.work]",
)
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="A value of the config, as stages.finetune.steps=100; repeatable, the later wins.",
)
@click.option(
    "--init-vision", type=FilledPath(), metavar="DIR", help="A Hugging Face ViT, DeiT or SigLIP."
)
@click.option("--init-text", type=FilledPath(), metavar="DIR", help="A Hugging Face T5 v1.1.")
@click.option("--max-minutes", type=click.FloatRange(min=0), help="Stop then, with a checkpoint.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it is there.")
def train(
    config: str,
    output: pathlib.Path,
    work: pathlib.Path | None,
    sets: tuple[str, ...],
    init_vision: str | None,
    init_text: str | None,
    max_minutes: float | None,
    overwrite: bool,
) -> None:
    """Train by CONFIG, a YAML file or the name of a recipe, and write the bundle OUTPUT.

    Stop it at any time: the same command goes on from the last checkpoint. Under torchrun it
    trains on all ranks.
    """
    # Imported here: `tokenfuse --help` must not load torch.
    from tokenfuse_sdk.bundle import check_output
    from tokenfuse_sdk.errors import OutputExistsError
    from tokenfuse_training.config.config_file import read_config

    options = {"init.vision": init_vision, "init.text": init_text}
    read = read_config(
        config, sets, values={key: value for key, value in options.items() if value is not None}
    )
    if output.exists() and not overwrite:
        raise OutputExistsError(f"{output} exists already; pass --overwrite or another --output")
    check_output(output, overwrite=overwrite)

    from tokenfuse_training.run import RunOptions, train_config

    run = RunOptions(
        output=output,
        work=work or output.with_name(output.name + ".work"),
        max_minutes=float("inf") if max_minutes is None else max_minutes,
        overwrite=overwrite,
    )
    train_config(read, run)
