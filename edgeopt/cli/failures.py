"""How a command that could not be done ends: one sentence of fact, one of remedy, exit code 2."""

from __future__ import annotations

import platform
import re
import shlex
import tempfile
import traceback
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import click

from edgeopt.errors import EdgeoptError
from edgeopt.files import explained, is_circumstance

COULD_NOT = 2
"""Exit code of a command that could not be done."""


def sentences(error: BaseException, arguments: Sequence[str]) -> tuple[str, str | None]:
    """Return what happened and what to do; what edgeopt did not foresee is written to a file that can be sent."""
    match error:
        case EdgeoptError():
            return error.message, error.hint
        case click.ClickException():
            return error.format_message(), _usage_hint(error)
        case KeyboardInterrupt() | click.Abort():
            return "interrupted", "nothing was left behind; run it again"
        case MemoryError():
            return "the memory does not suffice", "close other programs, or give a smaller model, batch or data set"
        case OSError() if is_circumstance(error):
            found = explained(error)
            return found.message, found.hint
    return _fault(error), _how_to_report(_write_crash(error, arguments))


def _usage_hint(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"see {context.command_path if context else 'edgeopt'} --help"


def _fault(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "this is a fault of edgeopt: the model is nested deeper than a step of it can follow"
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
    return f"this is a fault of edgeopt: {type(error).__name__}: {reason[:300]}"


def _how_to_report(file: Path | None) -> str:
    if file is None:
        return "report it with the command; no file could be written that says where it happened"
    return f"report it with the file '{file}', which holds the command, the versions and where it happened"


def _write_crash(error: BaseException, arguments: Sequence[str]) -> Path | None:
    """Write the file to send to the working folder or, where that cannot be, to that of temporary files."""
    text = "\n".join(
        [
            f"command: edgeopt {shlex.join(arguments)}",
            f"system: {platform.platform()}, Python {platform.python_version()}",
            f"versions: {', '.join(_versions())}",
            "",
            *traceback.format_exception(error),
        ]
    )
    for folder in (".", tempfile.gettempdir()):
        try:
            with tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", prefix="edgeopt-crash-", suffix=".txt", dir=folder, delete=False
            ) as file:
                file.write(text)
        except OSError:
            continue
        return Path(file.name)
    return None


def _versions() -> list[str]:
    """Return edgeopt's version and those of what it requires, as far as it is installed."""
    names = ["edgeopt", *(re.split(r"[^\w.-]", need)[0] for need in metadata.requires("edgeopt") or ())]
    installed = {found.metadata["Name"]: found.version for found in metadata.distributions()}
    return [f"{name} {installed[name]}" for name in dict.fromkeys(names) if name in installed]


def fail(error: BaseException, arguments: Sequence[str]) -> int:
    """Say on stderr why a command could not be done; return its exit code."""
    message, hint = sentences(error, arguments)
    click.echo(f"error: {message}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)
    return COULD_NOT
