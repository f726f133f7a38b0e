"""`tokenfuse flops`: what a config costs, by module, or all fusion kinds side by side."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib

import click

from tokenfuse_sdk.config import FUSION_KINDS, ModelConfig
from tokenfuse_sdk.errors import BundleFormatError, ConfigError
from tokenfuse_sdk.flops import FlopReport, count_flops
from tokenfuse_sdk.plain_file import PlainFileError, read_plain_file
from tokenfuse_sdk.sizes import SIZES, named_config
from tokenfuse_sdk.weights import expected_tensors

__all__ = ["flops"]

CONVENTION = (
    "1 MAC = 2 FLOPs; matrix products, convolutions and attention products of one picture and "
    "one question; norms, activations, softmax, biases and look-ups left out"
)
# A config is about 2 KB.
_MAX_CONFIG_BYTES = 1 << 20


def _read_config(path: pathlib.Path) -> ModelConfig:
    from tokenfuse_sdk.strict_json import parse_object

    try:
        data = parse_object(read_plain_file(path, max_bytes=_MAX_CONFIG_BYTES), str(path))
    except (PlainFileError, BundleFormatError) as error:
        raise ConfigError(f"{error}; pass a config.json") from error
    return ModelConfig.from_dict(data)


def _of_kind(config: ModelConfig, kind: str) -> ModelConfig:
    return dataclasses.replace(config, fusion=dataclasses.replace(config.fusion, kind=kind))


def _num_parameters(config: ModelConfig) -> int:
    return sum(math.prod(shape) for shape in expected_tensors(config).values())


def _giga(count: int) -> str:
    return f"{count / 1e9:,.3f}"


def _print_modules(report: FlopReport, num_parameters: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"{report.model}, {report.kind}: {num_parameters / 1e6:,.2f}M parameters, "
        f"N = {report.token_budget}, L = {report.num_text_tokens}, A = {report.num_answer_tokens}",
        caption=CONVENTION,
    )
    table.add_column("module", no_wrap=True)
    table.add_column("paid per")
    for title in ("GMACs", "GFLOPs", "share"):
        table.add_column(title, justify="right")
    for row in report.rows:
        share = f"{100 * row.macs / report.total_macs:.1f}%"
        stage = "picture" if row.stage == "image" else row.stage
        table.add_row(row.name, stage, _giga(row.macs), _giga(row.flops), share)
    table.add_section()
    for name, stage, count in (
        ("encode a picture", "picture", report.image_flops),
        ("answer a question", "question", report.question_flops),
        ("total", "", report.total_flops),
    ):
        share = f"{100 * count / report.total_flops:.1f}%"
        table.add_row(name, stage, _giga(count // 2), _giga(count), share)
    Console().print(table)


def _print_comparison(reports: list[tuple[FlopReport, int]]) -> None:
    from rich.console import Console
    from rich.table import Table

    first = reports[0][0]
    concat = next(report for report, _ in reports if report.kind == "concat")
    table = Table(
        title=f"{first.model}: fusion kinds, N = {first.token_budget}, "
        f"L = {first.num_text_tokens}, A = {first.num_answer_tokens}",
        caption=CONVENTION,
    )
    table.add_column("kind", no_wrap=True)
    for title in ("M params", "GMACs", "GFLOPs", "to concat", "per question", "fusion only"):
        table.add_column(title, justify="right")
    for report, num_parameters in reports:
        table.add_row(
            report.kind,
            f"{num_parameters / 1e6:,.2f}",
            _giga(report.total_macs),
            _giga(report.total_flops),
            f"{100 * (report.total_flops / concat.total_flops - 1):+.0f}%",
            _giga(report.question_flops),
            _giga(report.fusion_flops),
        )
    Console().print(table)


@click.command()
@click.argument("argument", metavar="[SIZE]", type=click.Choice(SIZES), required=False)
@click.option("--size", type=click.Choice(SIZES), help="The same as SIZE; default: nano.")
@click.option(
    "--config",
    "config_path",
    type=click.Path(exists=True, dir_okay=False, path_type=pathlib.Path),
    help="A bundle's config.json, in place of SIZE.",
)
@click.option(
    "--fusion", "--kind", type=click.Choice(FUSION_KINDS), help="Another fusion on this config."
)
@click.option("--token-budget", type=int, help="Latents in use; default: all.")
@click.option("--text-tokens", type=int, default=12, show_default=True)
@click.option("--answer-tokens", type=int, default=2, show_default=True)
@click.option("--compare", is_flag=True, help="All fusion kinds side by side.")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def flops(
    argument: str | None,
    size: str | None,
    config_path: pathlib.Path | None,
    fusion: str | None,
    token_budget: int | None,
    text_tokens: int,
    answer_tokens: int,
    compare: bool,
    as_json: bool,
) -> None:
    """Count the FLOPs and MACs of a named SIZE (default: nano) or of a config file.

    1 MAC is 2 FLOPs. Counted are matrix products, convolutions and attention
    products, for one picture and one question.
    """
    if sum(map(bool, (argument, size, config_path))) > 1:
        raise click.UsageError("pass one of SIZE, --size and --config")
    if compare and fusion:
        raise click.UsageError("--compare lists every kind; leave out --fusion")
    config = _read_config(config_path) if config_path else named_config(argument or size or "nano")
    kinds = FUSION_KINDS if compare else (fusion or config.fusion.kind,)
    reports = []
    for one in kinds:
        of_kind = _of_kind(config, one)
        report = count_flops(
            of_kind,
            num_text_tokens=text_tokens,
            num_answer_tokens=answer_tokens,
            token_budget=token_budget,
        )
        reports.append((report, _num_parameters(of_kind)))
    if as_json:
        rows = [{**report.to_dict(), "num_parameters": count} for report, count in reports]
        click.echo(json.dumps(rows if compare else rows[0], indent=2))
    elif compare:
        _print_comparison(reports)
    else:
        _print_modules(*reports[0])
