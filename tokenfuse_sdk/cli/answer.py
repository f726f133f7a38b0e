"""`tokenfuse answer`: questions about one picture."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib

import click

from tokenfuse_sdk.cli.options import FilledPath, model_options

__all__ = ["answer"]

_TOKENS_SUFFIX = ".safetensors"


@click.command()
@click.argument("image", type=FilledPath(path_type=pathlib.Path))
@click.argument("questions", nargs=-1)
@model_options
@click.option("--caption", is_flag=True, help="Describe the picture as well.")
@click.option(
    "--task",
    type=click.Choice(["answer", "complete", "match", "entail"]),
    default="answer",
    show_default=True,
    help="What the model is to do with each QUESTION, where it was trained to: its sign.",
)
@click.option("--candidate", "candidates", multiple=True, help="Repeatable: score these answers.")
@click.option("--max-tokens", type=int, default=None, help="Of an answer.")
@click.option(
    "--save-tokens",
    type=FilledPath(path_type=pathlib.Path),
    help="Keep the image tokens; pass the file as IMAGE later.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file of --save-tokens.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def answer(
    image: pathlib.Path,
    questions: tuple[str, ...],
    model_name: str,
    backend: str,
    device: str,
    precision: str | None,
    token_budget: int | None,
    num_threads: int | None,
    caption: bool,
    task: str,
    candidates: tuple[str, ...],
    max_tokens: int | None,
    save_tokens: pathlib.Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Answer QUESTIONS about IMAGE: a picture, or image tokens kept with --save-tokens."""
    if not questions and not caption and save_tokens is None:
        raise click.UsageError(
            "a question is needed; ask one, or pass --caption to describe the picture, or "
            "--save-tokens FILE to encode it only"
        )
    if candidates and not questions:
        raise click.UsageError("--candidate needs a question")
    if candidates and task != "answer":
        raise click.UsageError(f"--candidate scores answers; leave it out, or --task {task}")
    if save_tokens is not None:
        _check_save_path(save_tokens, image, overwrite)
    import tokenfuse_sdk

    with tokenfuse_sdk.load(
        model_name,
        backend=backend,
        device=device,
        precision=precision,
        token_budget=token_budget,
        num_threads=num_threads,
    ) as model:
        if image.suffix == _TOKENS_SUFFIX:
            tokens, preprocess_ms, encode_ms = tokenfuse_sdk.ImageTokens.load(image), 0.0, 0.0
        else:
            tokens, preprocess_ms, encode_ms = model._encode_timed(image, token_budget)
        if save_tokens is not None:
            tokens.save(save_tokens, overwrite=overwrite)
            click.echo(f"wrote {save_tokens}", err=True)
        limits = {"token_budget": token_budget, "max_tokens": max_tokens}
        if task == "answer":
            answers = [model.answer(tokens, question, **limits) for question in questions]
        else:
            answers = [
                dataclasses.replace(
                    model.generate(tokens, f"{task}: {question}", **limits), question=question
                )
                for question in questions
            ]
        if caption:
            answers.append(model.caption(tokens, **limits))
        if answers:
            # The picture was encoded once, for all: the first answer paid for it.
            times = answers[0].timings
            times = dataclasses.replace(
                times,
                preprocess_ms=preprocess_ms,
                encode_image_ms=encode_ms,
                total_ms=times.total_ms + preprocess_ms + encode_ms,
            )
            answers[0] = dataclasses.replace(answers[0], timings=times)
        scores = [
            model.score(tokens, question, candidates, token_budget=token_budget)
            for question in questions
            if candidates
        ]
        info = model.info
    if as_json:
        rows = [one.to_dict() for one in answers]
        for row, scored in zip(rows, scores, strict=False):
            row["scores"] = [
                {**dataclasses.asdict(s), "unknown_words": list(s.unknown_words)} for s in scored
            ]
        facts = {"image": str(image), "model": info.to_dict(), "answers": rows}
        click.echo(json.dumps(facts, indent=2))
        return
    for index, one in enumerate(answers):
        # A lone answer stands alone, so that a script can take it as it is.
        click.echo(one.text if len(answers) == 1 else f"{one.question}\t{one.text}")
        _warn_of(one.unknown_words)
        if index < len(scores):
            for score in sorted(scores[index], key=lambda s: -s.probability):
                click.echo(f"  {score.probability:.4f}\t{score.text}")
                _warn_of(score.unknown_words)


def _warn_of(unknown_words: tuple[str, ...]) -> None:
    if unknown_words:
        click.echo(f"warning: the model does not know: {', '.join(unknown_words)}", err=True)


def _check_save_path(path: pathlib.Path, image: pathlib.Path, overwrite: bool) -> None:
    from tokenfuse_sdk.atomic import check_output_file
    from tokenfuse_sdk.errors import ConfigError, OutputExistsError

    if path.suffix != _TOKENS_SUFFIX:
        raise ConfigError(
            f"--save-tokens {path}: need a name that ends in {_TOKENS_SUFFIX}, by which IMAGE "
            "knows it later"
        )
    check_output_file(path, what="the image tokens", other="another --save-tokens")
    if os.path.exists(path) and os.path.exists(image) and path.samefile(image):
        raise ConfigError(f"--save-tokens {path} is IMAGE itself; pass another file")
    if os.path.lexists(path) and not overwrite:
        raise OutputExistsError(f"{path} exists; pass --overwrite or another --save-tokens")
