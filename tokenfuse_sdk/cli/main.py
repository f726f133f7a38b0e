"""The command `tokenfuse`: finds a verb, loads it on use, turns our errors into exit codes.

Exit codes: 0 done, or the reader of the output went away; 1 a `TokenfuseError` or a file that
cannot be read or written, told as `error: ...`; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

import click

from tokenfuse_sdk import __version__
from tokenfuse_sdk.errors import TokenfuseError

__all__ = ["main"]

# In the order in which people meet them.
_VERBS = ("demo", "answer", "info", "doctor", "flops")
_GROUP = "tokenfuse.commands"
# What the extra `train` installs, as it is imported.
_TRAIN_EXTRA = ("matplotlib", "sklearn", "tensorboard", "torch", "webdataset", "yaml")


class _ReaderGoneError(Exception):
    """The reader of the output (head, less) has what it wanted and went away: no failure."""


@contextlib.contextmanager
def _minding_the_reader() -> Iterator[None]:
    # Click and rich would make exit code 1 of it.
    try:
        yield
    except BrokenPipeError as error:
        raise _ReaderGoneError from error
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):
            raise _ReaderGoneError from stop
        raise


class _Verbs(click.Group):
    """Verbs are imported when they run, those of other packages by entry point."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        # Prints the help.
        with _minding_the_reader():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _minding_the_reader():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        others = sorted({point.name for point in entry_points(group=_GROUP)} - set(_VERBS))
        return [*_VERBS, *others]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _VERBS:
            module = importlib.import_module(f"tokenfuse_sdk.cli.{cmd_name}")
            command = getattr(module, cmd_name)
        else:
            points = [p for p in entry_points(group=_GROUP) if p.name == cmd_name]
            if not points:
                return None
            command = points[0].load()
        assert isinstance(command, click.Command), cmd_name
        return command


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tokenfuse")
def cli() -> None:
    """Answers about images on a device."""


def _printable(text: str) -> str:
    """What a file name or a bundle brought along must not move a terminal's cursor.

    It may break lines; those behind the first are set in, so that none looks like one of ours.
    """
    return "\n  ".join(
        "".join(c if c.isprintable() else repr(c)[1:-1] for c in line) for line in text.split("\n")
    )


def main() -> None:
    """Run the command line and exit."""
    try:
        code = cli.main(standalone_mode=False)
    except _ReaderGoneError:
        # What is left in the buffers has nowhere to go.
        with open(os.devnull, "wb") as nowhere:
            for stream in (sys.stdout, sys.stderr):
                os.dup2(nowhere.fileno(), stream.fileno())
        sys.exit(0)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in _TRAIN_EXTRA:
            raise
        click.echo(
            f"error: this verb needs {error.name}; in the source folder, run "
            "`pip install '.[train]'`",
            err=True,
        )
        sys.exit(1)
    except (TokenfuseError, OSError) as error:
        click.echo(f"error: {_printable(str(error))}", err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
