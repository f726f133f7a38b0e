"""`tokenfuse train`: run a recipe, then write the bundle."""

from __future__ import annotations

import pathlib

import click

from tokenfuse_sdk.cli.options import FilledPath

__all__ = ["train"]


@click.command()
@click.argument("recipe")
@click.option("-o", "--output", type=FilledPath(path_type=pathlib.Path), required=True)
@click.option(
    "--work",
    type=FilledPath(path_type=pathlib.Path),
    help="Checkpoints, log and drawn scenes; a later run with it goes on. [OUTPUT.work]",
)
@click.option(
    "--start-from",
    type=FilledPath(),
    metavar="BUNDLE",
    help="Begin with the weights of a trained model.",
)
@click.option("--start-stage", metavar="NAME", help="The stage to begin with then.")
@click.option("--max-minutes", type=click.FloatRange(min=0), help="Stop then, with a checkpoint.")
@click.option("--steps-scale", type=click.FloatRange(min=0, min_open=True), default=1.0)
@click.option("--num-scenes", type=click.IntRange(min=1), help="Fewer scenes, for a trial.")
@click.option("--num-test-questions", type=click.IntRange(min=1), default=10_000)
@click.option("--device", default="cpu", show_default=True)
@click.option("--compile/--no-compile", default=False, help="Compile the layers.")
@click.option(
    "--bf16/--no-bf16",
    default=None,
    help="Matrix products in bfloat16.  [default: on a GPU alone]",
)
@click.option("--blind", is_flag=True, help="Train the two baselines that miss a modality too.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it is there.")
def train(
    recipe: str,
    output: pathlib.Path,
    work: pathlib.Path | None,
    start_from: str | None,
    start_stage: str | None,
    max_minutes: float | None,
    steps_scale: float,
    num_scenes: int | None,
    num_test_questions: int,
    device: str,
    compile: bool,
    bf16: bool | None,
    blind: bool,
    overwrite: bool,
) -> None:
    """Train RECIPE and write the bundle OUTPUT, evaluated on the test split.

    Stop it at any time: the same command goes on from the last checkpoint.
    """
    # Imported here: `tokenfuse --help` must not load torch.
    from tokenfuse_sdk.bundle import MIN_QUESTIONS, check_output
    from tokenfuse_sdk.errors import ConfigError, OutputExistsError
    from tokenfuse_training.precisions import NUM_QUESTIONS, record_measured
    from tokenfuse_training.recipes import RECIPES
    from tokenfuse_training.run import RunOptions, train_recipe

    if recipe not in RECIPES:
        raise ConfigError(f"recipe={recipe!r}: choose one of {', '.join(sorted(RECIPES))}")
    if output.exists() and not overwrite:
        raise OutputExistsError(f"{output} exists already; pass --overwrite or another --output")
    check_output(output, overwrite=overwrite)
    stages = [stage.name for stage in RECIPES[recipe].stages]
    if (start_from is None) != (start_stage is None):
        raise ConfigError("--start-from and --start-stage go together; pass both or neither")
    if start_stage is not None and start_stage not in stages:
        raise ConfigError(f"--start-stage={start_stage!r}: choose one of {', '.join(stages)}")
    options = RunOptions(
        output=output,
        work=work or output.with_name(output.name + ".work"),
        start_from=start_from,
        start_stage=start_stage or stages[0],
        max_minutes=float("inf") if max_minutes is None else max_minutes,
        steps_scale=steps_scale,
        num_scenes=num_scenes,
        num_test_questions=num_test_questions,
        device=device,
        compile=compile,
        # Few CPUs multiply in bfloat16, and to emulate it is many times slower.
        bf16=device.startswith("cuda") if bf16 is None else bf16,
        blind=blind,
        overwrite=overwrite,
    )
    done = train_recipe(RECIPES[recipe], options)
    if done:
        # What its precisions are worth: a model without a record runs in fp32 unless asked.
        record_measured(
            output, num_questions=max(MIN_QUESTIONS, min(num_test_questions, NUM_QUESTIONS))
        )
    state = f"wrote {output}" if done else f"stopped; run again to go on from {options.work}"
    click.echo(state, err=True)
