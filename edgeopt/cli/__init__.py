"""The command line: one file a sub-command, loaded when it is called; results on stdout, the log on stderr."""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

import edgeopt
from edgeopt.cli.failures import COULD_NOT, fail
from edgeopt.cli.streams import guarded

COMMANDS = {
    "export": "Export a model to a target: rewrite, compile, run, compare, measure.",
    "calibrate": "Find the ranges of a model's activations, or check that they hold.",
    "inspect": "Show what is in a model, and which passes would apply and why not.",
    "verify": "Check a bundle's hashes and its golden outputs by running it.",
    "bench": "Measure one or several bundles side by side.",
    "diff": "Tell what changed from one bundle to the next, under limits.",
    "report": "Print a bundle's report.",
    "targets": "List targets and devices: found, missing, the line that installs them.",
    "passes": "List passes, or a target's passes in order with reasons.",
    "explain": "Print what a pass, a recipe or a target does: its theorem.",
    "doctor": "Check this machine: versions, targets, tools.",
}


class _Stopped(Exception):
    """Carries ``cause`` past click."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__()
        self.cause = cause


@contextmanager
def _past_click() -> Iterator[None]:
    """Let click see none but its own exceptions: it takes others for an interrupt or a closed pipe, and exits."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit):
        raise
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        raise _Stopped(error) from error


class _Lazy(click.Group):
    """Lists the commands without importing any; a file of this package is imported when its command is called."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the arguments, or print the help."""
        with _past_click():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _past_click():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"edgeopt.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(edgeopt.__version__, prog_name="edgeopt")
def cli() -> None:
    """From a trained PyTorch model to a verified, measured bundle on edge hardware.

    Exit codes: 0 done, 1 done but a limit was missed or the outputs differ, 2 could not.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors become two lines on stderr and exit code 2."""
    given = sys.argv[1:] if arguments is None else arguments
    # Importing leaves a million objects that stay: to look among them for garbage as often as Python does takes a
    # tenth of a small export.
    gc.set_threshold(20_000, 20, 20)
    # Deprecations inside libraries are not the user's to act on.
    warnings.simplefilter("ignore")
    with guarded():
        try:
            result: Any = cli.main(given, prog_name="edgeopt", standalone_mode=False)
            code = result if isinstance(result, int) else 0
            sys.stdout.flush()
        except click.exceptions.NoArgsIsHelpError as shown:
            click.echo(shown.format_message(), err=True)
            code = COULD_NOT
        except _Stopped as stopped:
            code = fail(stopped.cause, given)
        except Exception as error:
            code = fail(error, given)
    sys.exit(code)
