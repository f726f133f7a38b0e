"""Options that tell what is asked, for `evaluate` and `precisions`."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tokenfuse_training.evaluation.asked_set import AskedSet

__all__ = ["asked_options", "asked_set"]


def asked_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--config`, `--dataset`, `--set`, `--split` and `--seed`."""
    options = (
        click.option("--config", help="A training config or recipe that names data sets."),
        click.option("--dataset", metavar="NAME", help="An entry of its `evaluate`."),
        click.option(
            "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Of the config; repeatable."
        ),
        click.option(
            "--split",
            type=click.Choice(["val", "test"]),
            help="Of scenes, without --config.  [default: test]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@contextlib.contextmanager
def asked_set(
    *,
    config: str | None,
    dataset: str | None,
    sets: Sequence[str],
    split: str | None,
    seed: int | None,
    num_questions: int | None,
    default_questions: int,
) -> Iterator[AskedSet]:
    """What the options ask.

    Args:
        default_questions: of scenes, without `num_questions`; with a config, its own count.

    Raises:
        UsageError: options that do not go together.
    """
    from tokenfuse_training.config.config_file import read_config
    from tokenfuse_training.evaluation.asked_set import config_set, scenes_set
    from tokenfuse_training.sources import with_scenes_in

    if config is None:
        if dataset is not None or sets:
            raise click.UsageError("--dataset and --set need --config")
        count = default_questions if num_questions is None else num_questions
        yield scenes_set(split=split or "test", num_questions=count, seed=seed)
        return
    if split is not None or seed is not None:
        raise click.UsageError(
            "--split and --seed are of scenes without a config; with --config use --set"
        )
    read = read_config(config, sets)
    # Scenes of a relative root lie in a work folder, which these verbs do not have.
    with tempfile.TemporaryDirectory(prefix="tokenfuse-") as folder:
        yield config_set(with_scenes_in(read, folder), dataset, num_questions=num_questions)
