"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

__all__ = ["PRECISION_HELP", "FilledPath", "backend_option", "model_options"]

_Command = Callable[..., Any]

PRECISION_HELP = (
    "CPU: fp32, bf16 or int8; default: the fastest that answers like fp32. GPU: fp16 or bf16; "
    "default: fp16. onnxruntime, tensorrt: one that the bundle has graphs or engines of; default: "
    "the most exact."
)
backend_option = click.option(
    "--backend", default="native", show_default=True, help="native, onnxruntime or tensorrt."
)


class FilledPath(click.Path):
    """A path, and not the empty text, which `pathlib` takes for the folder one stands in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the path is empty; pass one, or . for this folder", param, ctx)
        return super().convert(value, param, ctx)


def model_options(command: _Command) -> _Command:
    """`--model`, `--backend`, `--device`, `--precision`, `--token-budget` and `--num-threads`.

    As in `load`.
    """
    options = (
        click.option(
            "-m",
            "--model",
            "model_name",
            default="scenes-nano",
            show_default=True,
            help="A shipped model's name, or the path of a bundle.",
        ),
        backend_option,
        click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda."),
        click.option("--precision", default=None, help=PRECISION_HELP),
        click.option("--token-budget", type=int, default=None, help="Default: the largest."),
        click.option(
            "--num-threads",
            type=click.IntRange(1, 1024),
            default=None,
            help="Of a CPU; default: what affinity and cgroup allow.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command
